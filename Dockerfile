# A small image of the proxy: runs as 1337, needs nothing writable, speaks to signals itself (exec form, no shell).

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/sidecar
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY alpn alpn
COPY config config
COPY protocols protocols
COPY sidecar sidecar
COPY stats stats
RUN /opt/sidecar/bin/pip install --no-cache-dir --no-compile -c constraints.txt setuptools \
 && /opt/sidecar/bin/pip install --no-cache-dir --no-compile --no-build-isolation -c constraints.txt . \
 && /opt/sidecar/bin/pip uninstall --yes setuptools pip \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/sidecar/lib

FROM python:3.11-slim
RUN groupadd --gid 1337 istio-proxy \
 && useradd --uid 1337 --gid 1337 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin istio-proxy
COPY --from=build /opt/sidecar /opt/sidecar
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1337:1337
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["sidecar", "health", "--admin", "127.0.0.1:15000"]
ENTRYPOINT ["sidecar-proxy"]
CMD ["-c", "/etc/envoy/envoy.yaml"]
