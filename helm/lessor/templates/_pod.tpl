{{/* The broker's pod: the same in the StatefulSet and in the Deployment. */}}
{{- define "lessor.pod" -}}
metadata:
  labels:
    {{- include "lessor.podSelectorLabels" . | nindent 4 }}
    {{- with merge (dict) .Values.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "lessor.config" . | sha256sum }}
    {{- if .Values.redis.url }}
    checksum/store: {{ .Values.redis.url | sha256sum }}
    {{- end }}
    {{- with merge (dict) .Values.podAnnotations .Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ include "lessor.serviceAccountName" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  # The pause before the end, the broker's own grace, and a little for the container to go.
  terminationGracePeriodSeconds: {{ add .Values.shutdown.preStopSeconds .Values.shutdown.graceSeconds 5 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: lessor
      image: {{ include "lessor.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config=/etc/lessor/lessor.toml
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .Values.redis.ca.existingSecret .Values.extraEnv }}
      env:
        {{- if .Values.redis.ca.existingSecret }}
        - name: SSL_CERT_FILE
          value: /run/secrets/lessor/redis-ca/ca.crt
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 7077
          protocol: TCP
        - name: ops
          containerPort: 9464
          protocol: TCP
      {{- if gt (int .Values.shutdown.preStopSeconds) 0 }}
      # Until everybody knows that the pod is going, it goes on taking connections.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.shutdown.preStopSeconds }}
      {{- end }}
      {{- with .Values.startupProbe }}
      startupProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.livenessProbe }}
      livenessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.readinessProbe }}
      readinessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/lessor
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if not (include "lessor.redis" .) }}
        - name: data
          mountPath: /var/lib/lessor
        {{- end }}
        {{- range $volume := include "lessor.secretVolumes" . | fromYamlArray }}
        - name: {{ $volume.name }}
          mountPath: /run/secrets/lessor/{{ $volume.name }}
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "lessor.fullname" . }}
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 16Mi
    {{- if not (include "lessor.redis" .) }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      emptyDir: {}
    {{- else if .Values.persistence.existingClaim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- end }}
    {{- end }}
    {{- include "lessor.secretVolumes" . | nindent 4 }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ if not .labelSelector }}labelSelector:
        matchLabels:
          {{- include "lessor.podSelectorLabels" $ | nindent 10 }}
      {{ end }}{{ toYaml . | nindent 6 | trim }}
    {{- end }}
  {{- else }}
  {{- if include "lessor.redis" . }}
  topologySpreadConstraints:
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - labelSelector:
        matchLabels:
          {{- include "lessor.podSelectorLabels" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
      maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
    {{- end }}
  {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Secrets as files, under names of our own whatever their keys are. No subPath, so that changes arrive. */}}
{{- define "lessor.secretVolumes" -}}
{{- $volumes := list -}}
{{- if .Values.redis.existingSecret -}}
{{- $volumes = append $volumes (list "store" .Values.redis.existingSecret .Values.redis.existingSecretKey "url") -}}
{{- else if .Values.redis.url -}}
{{- $volumes = append $volumes (list "store" (printf "%s-store" (include "lessor.fullname" .)) "url" "url") -}}
{{- end -}}
{{- with .Values.redis.ca }}{{ if .existingSecret }}{{ $volumes = append $volumes (list "redis-ca" .existingSecret .key "ca.crt") }}{{ end }}{{ end -}}
{{- with .Values.tls }}{{ if .existingSecret }}{{ $volumes = append $volumes (list "tls" .existingSecret .certKey "tls.crt" .keyKey "tls.key") }}{{ end }}{{ end -}}
{{- with .Values.tls.clientCa }}{{ if .existingSecret }}{{ $volumes = append $volumes (list "client-ca" .existingSecret .key "ca.crt") }}{{ end }}{{ end -}}
{{- with .Values.auth }}{{ if .existingSecret }}{{ $volumes = append $volumes (list "tokens" .existingSecret .key "tokens.toml") }}{{ end }}{{ end -}}
{{- with .Values.auth.jwt }}{{ if .existingSecret }}{{ $volumes = append $volumes (list "jwks" .existingSecret .key "jwks.json") }}{{ end }}{{ end -}}
{{- range $volumes }}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    items:
      - key: {{ index . 2 }}
        path: {{ index . 3 }}
      {{- if gt (len .) 4 }}
      - key: {{ index . 4 }}
        path: {{ index . 5 }}
      {{- end }}
{{- end }}
{{- end -}}
