{{- define "lessor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for the suffixes of objects, such as -headless. */}}
{{- define "lessor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "lessor.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lessor.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lessor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lessor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lessor.podSelectorLabels" -}}
{{ include "lessor.selectorLabels" . }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "lessor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "lessor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object: (dict "root" $ "name" ... "component" ... "labels" ... "annotations" ... "namespace" ...) */}}
{{- define "lessor.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
namespace: {{ .namespace | default $root.Release.Namespace }}
labels:
  {{- include "lessor.labels" $root | nindent 2 }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lessor.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "lessor.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lessor.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* "true" when jobs are kept in Redis, else empty. */}}
{{- define "lessor.redis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}true{{- end -}}
{{- end -}}

{{- define "lessor.credentials" -}}
{{- $auth := .Values.auth -}}
{{- if or $auth.existingSecret $auth.jwt.jwksUrl $auth.jwt.existingSecret .Values.tls.clientCa.existingSecret -}}true{{- end -}}
{{- end -}}

{{- define "lessor.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.tls.existingSecret)) -}}
{{- end -}}

{{/* What values say together that the schema can't see. */}}
{{- define "lessor.check" -}}
{{- if not (or (include "lessor.credentials" .) .Values.auth.insecure) -}}
{{- fail "no credentials are configured, so everybody who reaches the broker could do everything: set auth.existingSecret, auth.jwt or tls.clientCa, or auth.insecure=true if that is meant" -}}
{{- end -}}
{{- with .Values.auth.jwt -}}
{{- if and (or .jwksUrl .existingSecret) (not (and .issuer .audience)) -}}
{{- fail "tokens of any issuer for anybody would be taken: set auth.jwt.issuer and auth.jwt.audience" -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraObjects -}}
{{- if not (or (kindIs "string" .) (kindIs "map" .)) -}}
{{- fail "extraObjects holds texts and maps only" -}}
{{- end -}}
{{- end -}}
{{- end -}}
