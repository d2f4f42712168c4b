{{/*
The broker's configuration file. Helm's own toToml writes whole numbers as 2.0, since values are
read as JSON; the broker rightly refuses two and a half threads. So values are written here: a table
per map at the top, everything below it inline.
*/}}
{{- define "lessor.toml" -}}
{{- range $key, $value := . }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "lessor.toml.key" $key }} = {{ include "lessor.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}

[{{ include "lessor.toml.key" $key }}]
{{- range $inner, $part := $value }}
{{- if not (kindIs "invalid" $part) }}
{{ include "lessor.toml.key" $inner }} = {{ include "lessor.toml.value" $part }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "lessor.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ mustToRawJson . }}{{- end -}}
{{- end -}}

{{- define "lessor.toml.value" -}}
{{- if kindIs "map" . -}}
{
{{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not $first }}, {{ end }}{{ include "lessor.toml.key" $key }} = {{ include "lessor.toml.value" $value }}
{{- $first = false -}}
{{- end -}}
}
{{- else if kindIs "slice" . -}}
[
{{- range $index, $value := . -}}
{{- if $index }}, {{ end }}{{ include "lessor.toml.value" $value }}
{{- end -}}
]
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ int64 . }}
{{- else -}}
{{ mustToRawJson . }}
{{- end -}}
{{- end -}}

{{/* What the chart knows by itself, beside `config`. */}}
{{- define "lessor.config" -}}
{{- $secrets := "/run/secrets/lessor" -}}
{{- $config := dict
  "listen" "0.0.0.0:7077"
  "ops_listen" "0.0.0.0:9464"
  "log_format" "json"
  "grace" (printf "%ds" (int .Values.shutdown.graceSeconds)) -}}
{{- if include "lessor.redis" . -}}
{{- $_ := set $config "store_file" (printf "%s/store/url" $secrets) -}}
{{- else -}}
{{- $_ := set $config "store" "sqlite:/var/lib/lessor/lessor.db" -}}
{{- end -}}
{{- $tls := dict -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $tls "cert" (printf "%s/tls/tls.crt" $secrets) -}}
{{- $_ := set $tls "key" (printf "%s/tls/tls.key" $secrets) -}}
{{- end -}}
{{- if .Values.tls.clientCa.existingSecret -}}
{{- $_ := set $tls "client_ca" (printf "%s/client-ca/ca.crt" $secrets) -}}
{{- end -}}
{{- if $tls }}{{ $_ := set $config "tls" $tls }}{{ end -}}
{{- $auth := dict -}}
{{- if .Values.auth.existingSecret -}}
{{- $_ := set $auth "tokens" (printf "%s/tokens/tokens.toml" $secrets) -}}
{{- end -}}
{{- with .Values.auth.jwt -}}
{{- if .existingSecret -}}
{{- $_ := set $auth "jwks" (printf "%s/jwks/jwks.json" $secrets) -}}
{{- else if .jwksUrl -}}
{{- $_ := set $auth "jwks" .jwksUrl -}}
{{- end -}}
{{- if .issuer }}{{ $_ := set $auth "jwt_issuer" .issuer }}{{ end -}}
{{- if .audience }}{{ $_ := set $auth "jwt_audience" .audience }}{{ end -}}
{{- if .refresh }}{{ $_ := set $auth "jwks_refresh" .refresh }}{{ end -}}
{{- if .claim }}{{ $_ := set $auth "jwt_claim" .claim }}{{ end -}}
{{- if .ownerClaim }}{{ $_ := set $auth "jwt_owner_claim" .ownerClaim }}{{ end -}}
{{- end -}}
{{- with .Values.auth.limits -}}
{{- if .callsPerSecond }}{{ $_ := set $auth "calls_per_second" .callsPerSecond }}{{ end -}}
{{- if .burst }}{{ $_ := set $auth "burst" .burst }}{{ end -}}
{{- if .streams }}{{ $_ := set $auth "streams" .streams }}{{ end -}}
{{- end -}}
{{- if $auth }}{{ $_ := set $config "auth" $auth }}{{ end -}}
{{- if not (include "lessor.credentials" .) }}{{ $_ := set $config "insecure_listen" true }}{{ end -}}
{{- include "lessor.toml" (mergeOverwrite $config (deepCopy .Values.config)) | trim -}}
{{- end -}}
