FROM node:20-slim AS pages
WORKDIR /src
COPY app/pages/graphiql/package.json app/pages/graphiql/package-lock.json app/pages/graphiql/.npmrc ./
RUN npm ci
COPY app/pages/graphiql ./
RUN npm run build

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/agentgraph
COPY requirements.lock ./
RUN /opt/agentgraph/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY --from=pages /src/dist app/pages/graphiql/dist
COPY clients clients
COPY resolvers resolvers
COPY schema schema
RUN /opt/agentgraph/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /home/agentgraph agentgraph
COPY --from=build /opt/agentgraph /opt/agentgraph
ENV PATH=/opt/agentgraph/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/agentgraph
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 8000}/ping', timeout=2)"]
ENTRYPOINT ["agentgraph"]
# Not ENV HOST: the empty HOST of an --env-file would win over it, and leave the container deaf.
CMD ["serve", "--host", "0.0.0.0"]
