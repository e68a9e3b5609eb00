# A small image of the proxy: runs as 1337, needs nothing writable, speaks to signals itself (exec form, no shell).

FROM python:3.11-slim AS build
# 1: the hot path as compiled modules; 0: only Python
ARG SIDECAR_NATIVE=1
WORKDIR /src
RUN if [ "$SIDECAR_NATIVE" = 1 ]; then \
      apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi
RUN python -m venv /opt/sidecar
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY alpn alpn
COPY config config
COPY protocols protocols
COPY sidecar sidecar
COPY stats stats
# The wheel is built in an environment of its own, which has what the image does not need.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir -c constraints.txt setuptools mypy types-protobuf types-PyYAML . \
 && SIDECAR_NATIVE=$SIDECAR_NATIVE /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/sidecar/bin/pip install --no-cache-dir --no-compile -c constraints.txt /wheel/*.whl \
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
