{{/* What the restricted Pod Security profile asks of a pod: list of context, user id, profile. */}}
{{- define "evocodec.podSecurity" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- $profile := index . 2 -}}
runAsNonRoot: true
runAsUser: {{ $user }}
runAsGroup: {{ $user }}
fsGroup: {{ $user }}
fsGroupChangePolicy: OnRootMismatch
{{- if $root.Values.seccompProfile.enabled }}
seccompProfile:
  {{- if $profile }}
  type: Localhost
  localhostProfile: {{ $profile }}
  {{- else }}
  type: RuntimeDefault
  {{- end }}
{{- end }}
{{- end -}}

{{- define "evocodec.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "evocodec.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "evocodec.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
