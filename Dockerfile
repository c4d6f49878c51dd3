FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /fairlead ./cmd/fairlead && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /fairlead /fairlead
# A new volume takes its owner from here.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["/fairlead", "ping", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["/fairlead"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/data"]
