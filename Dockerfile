# The collector alone. It needs no privileged container: see examples/kubernetes/README.md for what it needs.
#
#	docker build -t otelcol-ebpfnet .
#	docker run --rm --user 0 --cap-drop ALL --cap-add BPF --cap-add PERFMON --cap-add SYSLOG --pid host --read-only \
#		--security-opt no-new-privileges -v /sys/fs/cgroup:/host/sys/fs/cgroup:ro \
#		-v "$PWD/examples/host/collector.yaml:/etc/otelcol/config.yaml:ro" -e HOST_NAME="$(hostname)" otelcol-ebpfnet
ARG GO_VERSION=1.26

FROM golang:${GO_VERSION} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build make build

# Nothing but the static binary and the certificates that it may check a backend's with: no shell, no libraries.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/bin/otelcol-ebpfnet /otelcol-ebpfnet
# Gateways run as this user already; the agent is run as root without root's powers, as added capabilities are
# given to no other user.
USER 65532:65532
EXPOSE 4317 8888 13133
ENTRYPOINT ["/otelcol-ebpfnet"]
CMD ["--config=/etc/otelcol/config.yaml"]
