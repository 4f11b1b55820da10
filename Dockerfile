# Runs Postern as a user without privileges. The spool and the delivery log are in /var/spool/postern: keep that volume.
#
#   docker build -t postern .
#   docker run -p 2525:2525 -v postern-spool:/var/spool/postern -v ./conf:/app/conf:ro postern
#
# In a container, let the config listen on all addresses (listen: "*:2525", with trust and auth chosen for it), and put
# spool.path and events.path below /var/spool/postern.

FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev

FROM node:26-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY src ./src
COPY conf ./conf
RUN mkdir -p /var/spool/postern /app/var \
  && chown -R node:node /var/spool/postern /app/var
USER node
VOLUME /var/spool/postern
EXPOSE 2525 8080
# SIGTERM drains. Give it longer than drain_timeout: docker stop --time 60.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/src/cli/cli.ts"]
CMD ["serve", "--config", "conf/postern.yaml"]
