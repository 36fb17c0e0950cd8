{{- define "evocodec.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short, because KubeRay shortens names over 50 characters from the front. */}}
{{- define "evocodec.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "evocodec.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "evocodec.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.selector" -}}
app.kubernetes.io/name: {{ include "evocodec.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "evocodec.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "evocodec.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name of an image: list of context and one of image.controller, image.sandbox, vllm.image. */}}
{{- define "evocodec.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (printf "%s-controller" (include "evocodec.fullname" .)) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.claim" -}}
{{- default (printf "%s-data" (include "evocodec.fullname" .)) .Values.controller.persistence.existingClaim -}}
{{- end -}}

{{- define "evocodec.secret" -}}
{{- if .Values.externalSecret.enabled -}}
{{- printf "%s-controller" (include "evocodec.fullname" .) -}}
{{- else -}}
{{- .Values.controller.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.headHost" -}}
{{- printf "%s-head-svc.%s.svc.%s" (include "evocodec.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}

{{- define "evocodec.rayAddress" -}}
{{- printf "%s:%v" (include "evocodec.headHost" .) .Values.ray.ports.gcs -}}
{{- end -}}

{{- define "evocodec.modelUrl" -}}
{{- if .Values.model.base_url -}}
{{- .Values.model.base_url -}}
{{- else if .Values.vllm.enabled -}}
{{- printf "http://%s-vllm.%s.svc.%s:8000/v1" (include "evocodec.fullname" .) .Release.Namespace .Values.clusterDomain -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.modelName" -}}
{{- if .Values.model.model -}}
{{- .Values.model.model -}}
{{- else if and .Values.vllm.enabled (not .Values.model.base_url) -}}
{{- .Values.vllm.model -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.workerRuntimeClass" -}}
{{- if .Values.ray.worker.runtimeClassName -}}
{{- .Values.ray.worker.runtimeClassName -}}
{{- else if .Values.gvisor.enabled -}}
{{- .Values.gvisor.runtimeClassName -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.priorityController" -}}
{{- if .Values.priorityClasses.controllerName -}}
{{- .Values.priorityClasses.controllerName -}}
{{- else if .Values.priorityClasses.create -}}
{{- printf "%s-%s-controller" .Release.Namespace (include "evocodec.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.priorityWorker" -}}
{{- if .Values.priorityClasses.workerName -}}
{{- .Values.priorityClasses.workerName -}}
{{- else if .Values.priorityClasses.create -}}
{{- printf "%s-%s-worker" .Release.Namespace (include "evocodec.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* A size as Kubernetes writes it, in whole mebibytes. */}}
{{- define "evocodec.mebibytes" -}}
{{- $number := regexFind "^[0-9.]+" (toString .) -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $unit := index $units (trimPrefix $number (toString .)) -}}
{{- divf (mulf (float64 $number) (float64 $unit)) 1048576 | floor | int64 -}}
{{- end -}}

{{/* What a worker has for each job, in mebibytes: the pod's memory without objects and Ray itself. */}}
{{- define "evocodec.jobMemory" -}}
{{- $worker := .Values.ray.worker -}}
{{- $free := sub (include "evocodec.mebibytes" $worker.memory | int64) (include "evocodec.mebibytes" $worker.sharedMemory | int64) -}}
{{- div (sub $free 2048) (int64 $worker.slots) -}}
{{- end -}}
