{{- define "evocodec.component" -}}
- podSelector:
    matchLabels:
      {{- include "evocodec.selector" (index . 0) | nindent 6 }}
      app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "evocodec.rayPeers" -}}
- podSelector:
    matchLabels:
      {{- include "evocodec.selector" . | nindent 6 }}
      evocodec/ray-node: "true"
{{- end -}}

{{- define "evocodec.rayNodePorts" -}}
{{- $ports := .Values.ray.ports -}}
{{- range list $ports.nodeManager $ports.objectManager $ports.runtimeEnvAgent $ports.agentGrpc $ports.agent }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
- {protocol: TCP, port: {{ $ports.workerMin }}, endPort: {{ $ports.workerMax }}}
{{- end -}}

{{/* An exception must lie within its block, so only the block of everything has exceptions. */}}
{{- define "evocodec.outside" -}}
{{- $outside := .Values.networkPolicy.outside -}}
{{- range $outside.cidrs }}
- ipBlock:
    cidr: {{ . }}
    {{- if and (eq . "0.0.0.0/0") $outside.except }}
    except:
      {{- toYaml $outside.except | nindent 6 }}
    {{- end }}
{{- end }}
{{- end -}}
