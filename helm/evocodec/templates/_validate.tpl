{{/* What one field's schema cannot say. Each message: what is wrong, and what to set. */}}
{{- define "evocodec.validate" -}}
{{- $v := .Values -}}
{{- $worker := $v.ray.worker -}}
{{- include "evocodec.validateNames" . -}}
{{- include "evocodec.validateForms" . -}}
{{- if gt (len (include "evocodec.fullname" .)) 40 -}}
{{- fail (printf "fullnameOverride %q has more than 40 characters, and KubeRay would cut names made from it; shorten it" $v.fullnameOverride) -}}
{{- end -}}
{{- if gt (int $worker.minReplicas) (int $worker.maxReplicas) -}}
{{- fail (printf "ray.worker.minReplicas (%v) is more than ray.worker.maxReplicas (%v); raise maxReplicas" $worker.minReplicas $worker.maxReplicas) -}}
{{- end -}}
{{- if lt (int $worker.maxReplicas) 1 -}}
{{- fail "ray.worker.maxReplicas is 0, so that nothing could ever be measured; set it to 1 or more" -}}
{{- end -}}
{{- if and (not $v.ray.autoscaling.enabled) (lt (int $worker.minReplicas) 1) -}}
{{- fail "without ray.autoscaling.enabled exactly ray.worker.minReplicas workers run, and that is 0; set ray.worker.minReplicas to 1 or more" -}}
{{- end -}}
{{- if gt (int $worker.slots) (int $worker.cpus) -}}
{{- fail (printf "ray.worker.slots (%v) is more than ray.worker.cpus (%v), and each job needs a processor; raise cpus or lower slots" $worker.slots $worker.cpus) -}}
{{- end -}}
{{- include "evocodec.validatePorts" . -}}
{{- if and (eq $v.store.backend "dynamodb") (or (not $v.store.bucket) (not $v.store.region)) -}}
{{- fail "store.backend=dynamodb needs store.bucket and store.region; set them, or store.backend=sqlite" -}}
{{- end -}}
{{- if and (eq $v.store.backend "sqlite") (or $v.store.bucket $v.store.dynamodb_endpoint_url) -}}
{{- fail "store.bucket or store.dynamodb_endpoint_url is set, but store.backend is sqlite and would not use it; set store.backend=dynamodb" -}}
{{- end -}}
{{- if not $v.controller.persistence.enabled -}}
{{- if eq $v.store.backend "sqlite" -}}
{{- fail "controller.persistence.enabled=false with store.backend=sqlite would lose every run at the first restart; set persistence.enabled=true or store.backend=dynamodb" -}}
{{- else if not $v.champions.remote -}}
{{- fail "controller.persistence.enabled=false would lose the adopted versions at the first restart; set champions.remote to a git URL, or persistence.enabled=true" -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.serviceAccount.create) (not $v.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false needs serviceAccount.name, the account that exists" -}}
{{- end -}}
{{- if and $v.model.base_url (not $v.model.model) -}}
{{- fail "model.base_url is set without model.model; set the name that the endpoint knows the model by" -}}
{{- end -}}
{{- if and $v.model.model (not $v.model.base_url) (not $v.vllm.enabled) -}}
{{- fail "model.model is set without an endpoint; set model.base_url, or vllm.enabled=true and vllm.model" -}}
{{- end -}}
{{- include "evocodec.validateMemory" . -}}
{{- include "evocodec.validateDoors" . -}}
{{- include "evocodec.validateSettings" . -}}
{{- include "evocodec.validateOptional" . -}}
{{- end -}}

{{/* What is on a memory volume counts as the memory of the pod. */}}
{{- define "evocodec.validateMemory" -}}
{{- $v := .Values -}}
{{- $pods := dict
  "controller" (list $v.controller.resources.requests.memory $v.controller.resources.limits.memory $v.controller.sharedMemory)
  "ray.head" (list $v.ray.head.resources.requests.memory $v.ray.head.resources.limits.memory $v.ray.head.sharedMemory) -}}
{{- range $name, $sizes := $pods -}}
{{- if gt (include "evocodec.mebibytes" (index $sizes 0) | int) (include "evocodec.mebibytes" (index $sizes 1) | int) -}}
{{- fail (printf "%s.resources.requests.memory (%v) is more than %s.resources.limits.memory (%v); raise the limit" $name (index $sizes 0) $name (index $sizes 1)) -}}
{{- end -}}
{{- if ge (include "evocodec.mebibytes" (index $sizes 2) | int) (include "evocodec.mebibytes" (index $sizes 1) | int) -}}
{{- fail (printf "%s.sharedMemory (%v) would leave nothing of %s.resources.limits.memory (%v); lower it" $name (index $sizes 2) $name (index $sizes 1)) -}}
{{- end -}}
{{- end -}}
{{- $each := include "evocodec.jobMemory" . | int -}}
{{- if lt $each 512 -}}
{{- fail (printf "ray.worker.memory (%v) leaves %d MiB for each of ray.worker.slots (%v) beside sharedMemory (%v) and 2Gi for Ray, and a job wants 512; raise memory or lower slots" $v.ray.worker.memory (max 0 $each) $v.ray.worker.slots $v.ray.worker.sharedMemory) -}}
{{- end -}}
{{- end -}}

{{/* An address that no policy lets the controller reach would only show as time-outs. */}}
{{- define "evocodec.validateDoors" -}}
{{- $v := .Values -}}
{{- $outside := $v.networkPolicy.outside -}}
{{- if and $v.networkPolicy.enabled $outside.cidrs -}}
{{- $open := list -}}
{{- range $outside.ports -}}
{{- $open = append $open (int .) -}}
{{- end -}}
{{- $urls := dict "model.base_url" $v.model.base_url "store.dynamodb_endpoint_url" $v.store.dynamodb_endpoint_url "store.s3_endpoint_url" $v.store.s3_endpoint_url "champions.remote" $v.champions.remote -}}
{{- range $role := list "planner" "coder" "reviewer" "judge" -}}
{{- $_ := set $urls (printf "controller.settings.model.%s.base_url" $role) (dig "model" $role "base_url" "" $v.controller.settings) -}}
{{- end -}}
{{- range $name, $url := $urls -}}
{{- if $url -}}
{{- $given := regexFind "^[a-z]+://[^/]*:[0-9]+(/|$)" $url -}}
{{- $port := ternary 443 80 (hasPrefix "https:" $url) -}}
{{- if $given -}}
{{- $port = regexFind "[0-9]+$" (trimSuffix "/" $given) | int -}}
{{- end -}}
{{- if not (has $port $open) -}}
{{- fail (printf "%s is at port %d, and networkPolicy.outside.ports lets the controller connect to %v only; add %d there" $name $port $outside.ports $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the rest of the chart counts on. */}}
{{- define "evocodec.validateSettings" -}}
{{- $owned := dict
  "workspace" "the volume is at /data; leave it"
  "ray.address" "the chart has a cluster of its own; leave it"
  "telemetry.metrics_port" "the Service and the policies would not know; set metrics.port"
  "store.backend" "set store.backend"
  "store.bucket" "set store.bucket"
  "model.base_url" "set model.base_url"
  "model.api_key" "a ConfigMap is no place for a key; put EVOCODEC_MODEL__API_KEY into a secret and name it in controller.existingSecret"
  "champions.remote" "set champions.remote" -}}
{{- range $role := list "planner" "coder" "reviewer" "judge" -}}
{{- $variable := printf "EVOCODEC_MODEL__%s__API_KEY" (upper $role) -}}
{{- $_ := set $owned (printf "model.%s.api_key" $role) (printf "a ConfigMap is no place for a key; put %s into a secret and name it in controller.existingSecret" $variable) -}}
{{- end -}}
{{- $settings := .Values.controller.settings -}}
{{- range $path, $advice := $owned -}}
{{- $node := $settings -}}
{{- range splitList "." $path -}}
{{- $node = ternary (get (ternary $node dict (kindIs "map" $node)) .) nil (kindIs "map" $node) -}}
{{- end -}}
{{- if $node -}}
{{- fail (printf "controller.settings has %s: %s" $path $advice) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.validateOptional" -}}
{{- $v := .Values -}}
{{- if $v.vllm.enabled -}}
{{- if not $v.vllm.model -}}
{{- fail "vllm.enabled=true needs vllm.model, a model's name on the hub or its path on the volume" -}}
{{- end -}}
{{- if $v.model.base_url -}}
{{- fail "vllm.enabled=true and model.base_url are both set, and there is one endpoint; unset one of them" -}}
{{- end -}}
{{- end -}}
{{- if $v.vllm.keda.enabled -}}
{{- if not $v.vllm.enabled -}}
{{- fail "vllm.keda.enabled=true scales vLLM, which is off; set vllm.enabled=true, or vllm.keda.enabled=false" -}}
{{- end -}}
{{- if gt (int $v.vllm.keda.minReplicas) (int $v.vllm.replicas) -}}
{{- fail "vllm.keda.minReplicas is more than vllm.replicas, the most there may be; raise vllm.replicas" -}}
{{- end -}}
{{- end -}}
{{- if and $v.vllm.enabled $v.vllm.cache.enabled (gt (int $v.vllm.replicas) 1) -}}
{{- fail "vllm.replicas is more than 1, and copies cannot share vllm.cache's volume, which one node writes; set vllm.cache.enabled=false" -}}
{{- end -}}
{{- if $v.kueue.enabled -}}
{{- if not $v.kueue.queueName -}}
{{- fail "kueue.enabled=true needs kueue.queueName, the LocalQueue of this namespace" -}}
{{- end -}}
{{- if and $v.ray.autoscaling.enabled (not $v.kueue.elastic) -}}
{{- fail "Kueue refuses a Ray cluster that scales itself; set ray.autoscaling.enabled=false with ray.worker.minReplicas, or kueue.elastic=true where Kueue has elastic jobs on" -}}
{{- end -}}
{{- end -}}
{{- if $v.externalSecret.enabled -}}
{{- if or (not $v.externalSecret.store.name) (not $v.externalSecret.data) -}}
{{- fail "externalSecret.enabled=true needs externalSecret.store.name and externalSecret.data, such as EVOCODEC_MODEL__API_KEY: {key: evocodec, property: api_key}" -}}
{{- end -}}
{{- if $v.controller.existingSecret -}}
{{- fail "externalSecret.enabled=true and controller.existingSecret are both set; the controller reads one secret, so unset one of them" -}}
{{- end -}}
{{- end -}}
{{- if and $v.gvisor.enabled $v.ray.worker.runtimeClassName (ne $v.ray.worker.runtimeClassName $v.gvisor.runtimeClassName) -}}
{{- fail (printf "gvisor.enabled=true, but ray.worker.runtimeClassName is %q; unset it" $v.ray.worker.runtimeClassName) -}}
{{- end -}}
{{- if and (not $v.metrics.enabled) (or $v.metrics.serviceMonitor.enabled $v.metrics.prometheusRule.enabled $v.metrics.dashboards.enabled) -}}
{{- fail "metrics.serviceMonitor, prometheusRule or dashboards is on, but metrics.enabled is false, and they would show nothing; set metrics.enabled=true" -}}
{{- end -}}
{{- if and $v.ray.tls.existingSecret (not $v.ray.tls.enabled) -}}
{{- fail "ray.tls.existingSecret is set, but ray.tls.enabled is false, and nothing would be encrypted; set ray.tls.enabled=true" -}}
{{- end -}}
{{- if and $v.ray.auth.existingSecret (not $v.ray.auth.enabled) -}}
{{- fail "ray.auth.existingSecret is set, but ray.auth.enabled is false, and Ray would ask for no token; set ray.auth.enabled=true" -}}
{{- end -}}
{{- if and $v.kueue.queueName (not $v.kueue.enabled) -}}
{{- fail "kueue.queueName is set, but kueue.enabled is false; set kueue.enabled=true" -}}
{{- end -}}
{{- end -}}

{{- define "evocodec.validatePorts" -}}
{{- $ports := .Values.ray.ports -}}
{{- if gt (int $ports.workerMin) (int $ports.workerMax) -}}
{{- fail (printf "ray.ports.workerMin (%v) is above ray.ports.workerMax (%v); exchange them" $ports.workerMin $ports.workerMax) -}}
{{- end -}}
{{- $seen := dict "metrics.port" (int .Values.metrics.port) -}}
{{- range $name, $port := omit $ports "workerMin" "workerMax" -}}
{{- $port = int $port -}}
{{- if and (ge $port (int $ports.workerMin)) (le $port (int $ports.workerMax)) -}}
{{- fail (printf "ray.ports.%s (%d) lies among the ports of worker processes, %v to %v; choose another" $name $port $ports.workerMin $ports.workerMax) -}}
{{- end -}}
{{- range $other, $taken := $seen -}}
{{- if eq $taken $port -}}
{{- fail (printf "ray.ports.%s and %s are both %d; choose another for one of them" $name $other $port) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $seen (printf "ray.ports.%s" $name) $port -}}
{{- end -}}
{{- end -}}

{{/* A schema refuses a form by showing a regular expression; here it can say what to write. */}}
{{- define "evocodec.validateForms" -}}
{{- $cores := list "^[0-9]+(\\.[0-9]+)?m?$" "is no number of processors; write it as 500m or 2" -}}
{{- $quantity := list "^[0-9]+(\\.[0-9]+)?([EPTGM]i?|Ki|k)$|^[0-9]{7,}$" "is no size; write it as 512Mi or 8Gi (a bare number would be bytes)" -}}
{{- $url := list "^$|^https?://[^\\s]+$" "is no address; write it as https://host/path" -}}
{{- $git := list "^$|^https?://[^\\s]+$" "cannot be pushed to: the controller's image has no ssh; write it as https://host/path, and give controller.gitSecret" -}}
{{- $digest := list "^$|^sha256:[0-9a-f]{64}$" "is no digest; write sha256: and 64 hexadecimal digits, or set the tag instead" -}}
{{- $duration := list "^([0-9]+(ms|s|m|h))+$" "is no duration; write it as 30s, 5m or 1h" -}}
{{- $block := list "^([0-9]{1,3}(\\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:]+/[0-9]{1,3})$" "is no block of addresses; write it as 10.0.0.0/8, one address as 10.1.2.3/32" -}}
{{- $forms := dict
  "controller.resources.requests.cpu" $cores "controller.resources.requests.memory" $quantity
  "controller.resources.limits.memory" $quantity "controller.persistence.size" $quantity
  "controller.tmpSize" $quantity "controller.sharedMemory" $quantity
  "ray.head.resources.requests.cpu" $cores "ray.head.resources.requests.memory" $quantity
  "ray.head.resources.limits.cpu" $cores "ray.head.resources.limits.memory" $quantity
  "ray.head.tmpSize" $quantity "ray.head.sharedMemory" $quantity
  "ray.worker.memory" $quantity "ray.worker.tmpSize" $quantity "ray.worker.sharedMemory" $quantity
  "vllm.memory" $quantity "vllm.cache.size" $quantity
  "champions.remote" $git "model.base_url" $url "store.dynamodb_endpoint_url" $url "store.s3_endpoint_url" $url
  "vllm.keda.prometheus" $url
  "image.controller.digest" $digest "image.sandbox.digest" $digest "vllm.image.digest" $digest
  "externalSecret.refreshInterval" $duration "metrics.serviceMonitor.interval" $duration
  "networkPolicy.outside.cidrs" $block "networkPolicy.outside.except" $block
  "networkPolicy.apiServer.cidrs" $block "networkPolicy.dns.cidrs" $block
-}}
{{- $values := .Values -}}
{{- range $path, $form := $forms -}}
{{- $found := $values -}}
{{- range splitList "." $path -}}
{{- $found = index $found . -}}
{{- end -}}
{{- if not (kindIs "slice" $found) -}}
{{- $found = list $found -}}
{{- end -}}
{{- range $found -}}
{{- if not (regexMatch (index $form 0) (toString .)) -}}
{{- fail (printf "%s: %q %s" $path (toString .) (index $form 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names of values before 0.2.0. What is left unset would be used in their place. */}}
{{- define "evocodec.validateNames" -}}
{{- $now := dict
  "stores.backend" "store.backend (sqlite for embedded, dynamodb for aws)"
  "stores.region" "store.region"
  "stores.bucket" "store.bucket"
  "stores.dynamodbEndpoint" "store.dynamodb_endpoint_url"
  "stores.s3Endpoint" "store.s3_endpoint_url"
  "model.baseUrl" "model.base_url"
  "model.name" "model.model" -}}
{{- $values := .Values -}}
{{- range $old, $new := $now -}}
{{- $path := splitList "." $old -}}
{{- if hasKey (index $values (first $path) | default dict) (last $path) -}}
{{- fail (printf "%s is now called as the setting is: set %s" $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}
