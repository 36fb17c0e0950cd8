{{/* Of the largest cluster: one that scales from nothing has none when a run begins. */}}
{{- define "evocodec.slots" -}}
{{- $worker := .Values.ray.worker -}}
{{- $workers := ternary $worker.maxReplicas $worker.minReplicas .Values.ray.autoscaling.enabled -}}
{{- mul (int $workers) (int $worker.slots) -}}
{{- end -}}

{{/* What the chart knows, under what the user sets. */}}
{{- define "evocodec.settings" -}}
{{- $worker := .Values.ray.worker -}}
{{- $ray := dict "address" (include "evocodec.rayAddress" .) "sandboxes_per_task" 1.0 -}}
{{- if gt (int $worker.gpus) 0 -}}
{{- $_ := set $ray "gpus_per_task" (divf $worker.gpus $worker.slots | printf "%.4f" | float64) -}}
{{- end -}}
{{- $model := dict "base_url" (include "evocodec.modelUrl" .) "model" (include "evocodec.modelName" .) -}}
{{- $known := dict "workspace" "/data" "ray" $ray "model" $model "run" (dict "minutes" 480 "slots" (include "evocodec.slots" . | int)) "sandbox" (dict "mode" "pod" "memory_mib" (min 2048 (include "evocodec.jobMemory" . | int))) -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $known "telemetry" (dict "metrics_port" (int .Values.metrics.port) "metrics_bind" "0.0.0.0" "log_to" "stdout" "log_format" "json") -}}
{{- end -}}
{{- if eq .Values.store.backend "dynamodb" -}}
{{- $store := dict "backend" "dynamodb" "region" .Values.store.region "bucket" .Values.store.bucket "dynamodb_endpoint_url" .Values.store.dynamodb_endpoint_url "s3_endpoint_url" .Values.store.s3_endpoint_url -}}
{{- $_ := set $known "store" $store -}}
{{- end -}}
{{- with .Values.champions.remote -}}
{{- $_ := set $known "champions" (dict "remote" .) -}}
{{- end -}}
{{- mergeOverwrite $known (deepCopy .Values.controller.settings) | toToml -}}
{{- end -}}

{{- define "evocodec.controllerEnv" -}}
{{- include "evocodec.rayEnv" . }}
{{ include "evocodec.rayTokenEnv" . }}
{{- with .Values.store.region }}
- name: AWS_REGION
  value: {{ . }}
{{- end }}
{{- if .Values.controller.gitSecret }}
- name: GIT_CONFIG_COUNT
  value: "1"
- name: GIT_CONFIG_KEY_0
  value: credential.helper
- name: GIT_CONFIG_VALUE_0
  value: store --file=/etc/evocodec/git/credentials
- name: GIT_TERMINAL_PROMPT
  value: "0"
{{- end }}
{{- end -}}

{{- define "evocodec.controllerMounts" -}}
- name: settings
  mountPath: /etc/evocodec/settings
  readOnly: true
- name: begin
  mountPath: /scripts
  readOnly: true
{{- if .Values.controller.gitSecret }}
- name: git
  mountPath: /etc/evocodec/git
  readOnly: true
{{- end }}
{{- end -}}

{{- define "evocodec.controllerVolumes" -}}
- name: settings
  configMap:
    name: {{ include "evocodec.fullname" . }}-settings
- name: begin
  configMap:
    name: {{ include "evocodec.fullname" . }}-scripts
    items:
      - key: begin.py
        path: begin.py
{{- if .Values.controller.gitSecret }}
- name: git
  secret:
    secretName: {{ .Values.controller.gitSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}
