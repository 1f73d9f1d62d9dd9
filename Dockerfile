# One image for the node, for kv and for the agents; and, as target `owserver`, a 1-Wire bus to try them on.
# Everything comes from Debian and from what pip is set up to use.
FROM debian:12-slim AS build
# --build-arg HATCH_BUILD_HOOKS_ENABLE=1 compiles it, see docs/how-to/compile.md; what that needs stays out of the image.
ARG HATCH_BUILD_HOOKS_ENABLE=
RUN apt-get update \
    && apt-get install --no-install-recommends -y python3 python3-venv \
        ${HATCH_BUILD_HOOKS_ENABLE:+gcc libc6-dev python3-dev} \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN python3 -m venv /opt/kvnode \
    && /opt/kvnode/bin/pip install --no-cache-dir '/src[all]'

# An owserver without hardware: two thermometers with fixed values.
FROM debian:12-slim AS owserver
RUN apt-get update \
    && apt-get install --no-install-recommends -y owserver \
    && rm -rf /var/lib/apt/lists/*
USER 65534:65534
EXPOSE 4304
ENTRYPOINT ["owserver", "--foreground", "-p", "0.0.0.0:4304", "--tester=DS18B20,DS18B20"]

FROM debian:12-slim
RUN apt-get update \
    && apt-get install --no-install-recommends -y python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 990 kvnode \
    && useradd --system --uid 990 --gid 990 --home-dir /var/lib/kvnode --create-home kvnode \
    && install -d -o kvnode -g kvnode /run/kvnode
COPY --from=build /opt/kvnode /opt/kvnode
# In a container the network is the compose network: the node must be reachable there. Publish its port to loopback only.
ENV PATH=/opt/kvnode/bin:$PATH \
    KVNODE_DATA=/var/lib/kvnode \
    KVNODE_LISTEN=0.0.0.0:27590 \
    KVNODE_INSECURE=true \
    KVNODE_HTTP=127.0.0.1:27591
USER 990:990
WORKDIR /var/lib/kvnode
VOLUME /var/lib/kvnode
EXPOSE 27590
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 27591, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["kv"]
CMD ["node", "run"]
