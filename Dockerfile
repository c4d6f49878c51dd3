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
# With TLS, or another port, set FAIRLEAD_URL to where it listens, such as https://127.0.0.1:443: its certificate may be for any name.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["/fairlead", "ping", "--insecure"]
ENTRYPOINT ["/fairlead"]
# Who may come in has to be configured, such as by FAIRLEAD_AUTH_SECRET, or it says so and ends.
CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/data"]
