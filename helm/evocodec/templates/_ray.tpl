{{/* `ray start` without a shell. Lists of context and kind: head, worker or driver. */}}
{{- define "evocodec.rayCommand" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $ports := $root.Values.ray.ports -}}
{{- $worker := $root.Values.ray.worker -}}
- /opt/evocodec/bin/ray
- start
{{- if eq $kind "head" }}
- --head
- --port={{ $ports.gcs }}
- --dashboard-host=0.0.0.0
- --dashboard-port={{ $ports.dashboard }}
- --include-dashboard=true
{{- if $root.Values.ray.autoscaling.enabled }}
- --no-monitor
{{- end }}
{{- else }}
- --address={{ include "evocodec.rayAddress" $root }}
{{- end }}
- --node-ip-address=$(POD_IP)
{{- if eq $kind "worker" }}
- --num-cpus={{ $worker.cpus }}
- --num-gpus={{ $worker.gpus }}
- --resources={{ dict "sandbox" (int $worker.slots) | toJson }}
{{- else }}
- --num-cpus=0
- --num-gpus=0
{{- end }}
- --node-manager-port={{ $ports.nodeManager }}
- --object-manager-port={{ $ports.objectManager }}
- --runtime-env-agent-port={{ $ports.runtimeEnvAgent }}
- --dashboard-agent-grpc-port={{ $ports.agentGrpc }}
- --dashboard-agent-listen-port={{ $ports.agent }}
- --metrics-export-port={{ $ports.metrics }}
- --min-worker-port={{ $ports.workerMin }}
- --max-worker-port={{ $ports.workerMax }}
- --disable-usage-stats
- --block
{{- end -}}

{{/* What KubeRay and its autoscaler read about a group; the command above is what runs. */}}
{{- define "evocodec.rayStartParams" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $ports := $root.Values.ray.ports -}}
{{- if eq $kind "head" }}
port: {{ $ports.gcs | quote }}
dashboard-host: "0.0.0.0"
dashboard-port: {{ $ports.dashboard | quote }}
num-cpus: "0"
num-gpus: "0"
{{- else }}
num-cpus: {{ $root.Values.ray.worker.cpus | quote }}
num-gpus: {{ $root.Values.ray.worker.gpus | quote }}
resources: {{ dict "sandbox" (int $root.Values.ray.worker.slots) | toJson | quote | squote }}
{{- end }}
dashboard-agent-listen-port: {{ $ports.agent | quote }}
metrics-export-port: {{ $ports.metrics | quote }}
{{- end -}}

{{- define "evocodec.rayEnv" -}}
{{- $tls := .Values.ray.tls.enabled -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{/* Ray's two minutes are how long tasks wait for a node that went without a word. */ -}}
- name: RAY_grpc_client_keepalive_timeout_ms
  value: "20000"
{{- if $tls }}
- name: RAY_USE_TLS
  value: "1"
- name: RAY_TLS_SERVER_CERT
  value: /etc/evocodec/tls/tls.crt
- name: RAY_TLS_SERVER_KEY
  value: /etc/evocodec/tls/tls.key
- name: RAY_TLS_CA_CERT
  value: /etc/evocodec/tls/ca.crt
{{- end }}
{{- end -}}

{{/* KubeRay sets these in its own pods; a pod of ours joins with them. */}}
{{- define "evocodec.rayTokenEnv" -}}
{{- if .Values.ray.auth.enabled }}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ default (include "evocodec.fullname" .) .Values.ray.auth.existingSecret }}
      key: auth_token
{{- else }}
- name: RAY_AUTH_MODE
  value: disabled
{{- end }}
{{- end -}}

{{- define "evocodec.rayPorts" -}}
{{- $ports := .Values.ray.ports -}}
- name: agent
  containerPort: {{ $ports.agent }}
- name: ray-metrics
  containerPort: {{ $ports.metrics }}
{{- end -}}

{{- define "evocodec.rayMounts" -}}
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- if .Values.ray.tls.enabled }}
- name: tls
  mountPath: /etc/evocodec/tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* List of context, size of /tmp, size of /dev/shm. */}}
{{- define "evocodec.rayVolumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ index . 1 }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ index . 2 }}
{{- if $root.Values.ray.tls.enabled }}
- name: tls
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: tls-authority
  secret:
    secretName: {{ default (printf "%s-ray-authority" (include "evocodec.fullname" $root)) $root.Values.ray.tls.existingSecret }}
    defaultMode: 0440
- name: scripts
  configMap:
    name: {{ include "evocodec.fullname" $root }}-scripts
    defaultMode: 0555
{{- end }}
{{- end -}}

{{/* Only this container ever holds the authority's key; it ends before Ray starts. */}}
{{- define "evocodec.tlsInit" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $root.Values.ray.tls.enabled }}
- name: certificate
  image: {{ include "evocodec.image" (list $root $image) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: [/opt/evocodec/bin/python, /scripts/certificate.py]
  env:
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    - name: NAMES
      value: {{ printf "%s,%s-head-svc,localhost" (include "evocodec.headHost" $root) (include "evocodec.fullname" $root) }}
    - name: DAYS
      value: {{ $root.Values.ray.tls.days | quote }}
  resources:
    requests: {cpu: 100m, memory: 128Mi}
    limits: {memory: 256Mi}
  securityContext:
    {{- include "evocodec.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: scripts
      mountPath: /scripts
      readOnly: true
    - name: tls-authority
      mountPath: /authority
      readOnly: true
    - name: tls
      mountPath: /etc/evocodec/tls
{{- end }}
{{- end -}}

{{/* The kubelet asks from the node, which NetworkPolicies let through; these paths need no token. */}}
{{- define "evocodec.rayProbes" -}}
{{- $agent := .Values.ray.ports.agent -}}
startupProbe:
  httpGet:
    path: /api/local_raylet_healthz
    port: {{ $agent }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /api/local_raylet_healthz
    port: {{ $agent }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
readinessProbe:
  httpGet:
    path: /api/local_raylet_healthz
    port: {{ $agent }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* A Ray node without resources beside a driver: Ray's drivers need one that shares /tmp and /dev/shm. */}}
{{- define "evocodec.rayDriver" -}}
- name: ray-node
  image: {{ include "evocodec.image" (list . .Values.image.controller) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  command:
    {{- include "evocodec.rayCommand" (list . "driver") | nindent 4 }}
  env:
    {{- include "evocodec.rayEnv" . | nindent 4 }}
    {{- include "evocodec.rayTokenEnv" . | nindent 4 }}
  ports:
    {{- include "evocodec.rayPorts" . | nindent 4 }}
  {{- include "evocodec.rayProbes" . | nindent 2 }}
  resources:
    requests: {cpu: 250m, memory: 1Gi}
    limits: {memory: 3Gi}
  securityContext:
    {{- include "evocodec.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- include "evocodec.rayMounts" . | nindent 4 }}
{{- end -}}

{{/* files/bash.py where Ray and KubeRay look for a shell. */}}
{{- define "evocodec.shellEnv" -}}
{{- if .Values.ray.standInShell }}
- name: PATH
  value: /opt/evocodec/bin:/bin
{{- end }}
{{- end -}}

{{- define "evocodec.shellMount" -}}
{{- if .Values.ray.standInShell }}
- name: shell
  mountPath: /bin/bash
  subPath: bash.py
  readOnly: true
{{- end }}
{{- end -}}

{{- define "evocodec.shellVolume" -}}
{{- if .Values.ray.standInShell }}
- name: shell
  configMap:
    name: {{ include "evocodec.fullname" . }}-scripts
    defaultMode: 0555
    items:
      - key: bash.py
        path: bash.py
{{- end }}
{{- end -}}

{{/* Nothing expands variables in a hook, so files/drain.py looks for itself what Ray calls the node. */}}
{{- define "evocodec.drainHook" -}}
preStop:
  exec:
    command:
      - /opt/evocodec/bin/python
      - /scripts/drain.py
      # What is left of the grace period is for Ray to stop.
      - {{ sub (int .Values.ray.worker.terminationGracePeriodSeconds) 15 | quote }}
      - {{ include "evocodec.rayAddress" . }}
{{- end -}}
