// Package fairlead_test checks what stands at the repository's root and has no code of its own to be tested with: how the
// gateway is put into containers.
package fairlead_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type composeFile struct {
	Services map[string]composeService
	Volumes  map[string]any
}

type composeService struct {
	Build       string
	Image       string
	Command     []string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	Restart     string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
}

// The nginx services, their ports and their configurations.
var proxies = map[string]struct{ port, conf string }{
	"nginx-plain":     {"127.0.0.1:8081:80", "testdata/networks/nginx-plain.conf"},
	"nginx-websocket": {"127.0.0.1:8082:80", "testdata/networks/nginx-websocket.conf"},
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var file composeFile
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComposeRunsTheGatewayAndTwoProxies(t *testing.T) {
	file := compose(t)
	want := append(slices.Collect(maps.Keys(proxies)), "fairlead")
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(file.Services)); !slices.Equal(got, want) {
		t.Fatalf("services: got %v, want %v", got, want)
	}
	gateway := file.Services["fairlead"]
	if gateway.Build != "." || !slices.Equal(gateway.Ports, []string{"127.0.0.1:8080:8080"}) {
		t.Errorf("fairlead: got build %q, ports %v", gateway.Build, gateway.Ports)
	}
	if got, want := strings.Join(gateway.Command, " "), "serve --listen 0.0.0.0:8080 --data /data"; got != want {
		t.Errorf("fairlead: got command %q, want %q", got, want)
	}
	// It is open, and says so: only because every port is this machine's only, which is looked at below.
	want = []string{"FAIRLEAD_INSECURE=true", "FAIRLEAD_ORIGINS=http://localhost:8081", "FAIRLEAD_TRUSTED_PROXY=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"}
	if got := environment(gateway); !slices.Equal(got, want) {
		t.Errorf("fairlead: got environment %v, want %v", got, want)
	}
	for _, mount := range gateway.Volumes {
		volume, _, _ := strings.Cut(mount, ":")
		if _, ok := file.Volumes[volume]; !ok || mount != volume+":/data" {
			t.Errorf("fairlead: got mount %q, want a named volume on /data", mount)
		}
	}
	if len(gateway.Volumes) != 1 {
		t.Errorf("fairlead: got mounts %v, want one", gateway.Volumes)
	}
	for name, service := range file.Services {
		if service.Restart != "unless-stopped" {
			t.Errorf("%s: got restart %q", name, service.Restart)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open beyond this machine", name, port)
			}
		}
	}
}

// environment is a service's, in the form of os.Environ.
func environment(service composeService) (variables []string) {
	for name, value := range service.Environment {
		variables = append(variables, name+"="+value)
	}
	slices.Sort(variables)
	return variables
}

func TestComposeMountsTheConfigurationsThatTheBrowserTestsUse(t *testing.T) {
	file := compose(t)
	var mounted []string
	for name, want := range proxies {
		service := file.Services[name]
		if !slices.Equal(service.Ports, []string{want.port}) || !strings.HasPrefix(service.Image, "nginx:") {
			t.Errorf("%s: got image %q, ports %v, want nginx on %s", name, service.Image, service.Ports, want.port)
		}
		if got, want := service.Volumes, "./"+want.conf+":/etc/nginx/conf.d/default.conf:ro"; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got mounts %v, want %s", name, got, want)
		}
		// nginx ends at once if it cannot look the gateway's name up.
		if got := service.DependsOn["fairlead"].Condition; got != "service_healthy" {
			t.Errorf("%s: got dependency %q, want service_healthy", name, got)
		}
		mounted = append(mounted, want.conf)
	}
	used := regexp.MustCompile(`testdata/networks/nginx[\w-]*\.conf`).FindAllString(read(t, "clients/js/browser/demo.test.ts"), -1)
	slices.Sort(mounted)
	slices.Sort(used)
	if !slices.Equal(slices.Compact(used), mounted) {
		t.Errorf("browser tests use %v, compose mounts %v", used, mounted)
	}
}

func TestTheImageIsStaticHealthCheckedAndNotRoot(t *testing.T) {
	text := read(t, "Dockerfile")
	for _, want := range []string{
		`(?m)^FROM golang:1\.26 AS build$`,
		`(?m)^RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /fairlead \./cmd/fairlead\b`,
		`(?m)^FROM gcr\.io/distroless/static\S*:nonroot$`,
		`(?m)^COPY --from=build --chown=65532:65532 /data /data$`,
		`(?m)^USER 65532:65532$`,
		`(?m)^VOLUME /data$`,
		`(?m)^HEALTHCHECK .* CMD \["/fairlead", "ping", "--insecure"\]$`, // the image has no shell
		`(?m)^ENTRYPOINT \["/fairlead"\]$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("Dockerfile: nothing matches %s", want)
		}
	}
	// The first stage's Go must be able to build this module.
	if !strings.Contains(read(t, "go.mod"), "\ngo 1.26") {
		t.Error("go.mod asks for another Go than the Dockerfile's 1.26")
	}
}

// The browser tests replace the two addresses of each configuration; nginx itself says whether the result is valid.
func TestTheProxyConfigurationsAreValid(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	switch {
	case err == nil:
	case os.Getenv("FULL_TESTS") == "1":
		t.Fatalf("nginx: %v: install it, such as with apt-get install nginx-light", err)
	default:
		t.Log("nginx is not installed: the configurations were read, not tried")
	}
	for name, proxy := range proxies {
		t.Run(name, func(t *testing.T) {
			text := read(t, proxy.conf)
			for _, address := range []string{"listen 80;", "http://fairlead:8080;"} {
				if strings.Count(text, address) != 1 {
					t.Errorf("%s has %q %d times, want once", proxy.conf, address, strings.Count(text, address))
				}
			}
			if nginx != "" {
				try(t, nginx, strings.NewReplacer("listen 80;", "listen 127.0.0.1:8081;", "fairlead:8080", "127.0.0.1:8080").Replace(text))
			}
		})
	}
}

func try(t *testing.T, nginx, servers string) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("pid %[1]s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n%[2]s%[3]s}\n", dir, temporary(dir), servers)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), nginx, "-t", "-p", dir, "-c", conf).CombinedOutput(); err != nil {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
}

// temporary keeps nginx from its system-wide directories, which only root may write to.
func temporary(dir string) (text string) {
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	return text
}
