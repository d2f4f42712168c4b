package lessor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "github.com/lessor/lessor/client-go"

// program that a user writes first.
const firstProgram = `package main

import (
	"context"
	"fmt"
	"log"

	lessor "github.com/lessor/lessor/client-go"
)

func main() {
	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	job, err := client.Enqueue(context.Background(), lessor.NewJob{Queue: "installed", Type: "first"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.Queue, job.Outcome)
}
`

// TestInstall: the packed module is got into a clean folder, and works there.
func TestInstall(t *testing.T) {
	t.Parallel()
	tools, err := filepath.Abs("../scripts/tools/go")
	must(t, err)
	if _, err := os.Stat(tools); err != nil {
		t.Fatal("it is tested where it is made: ", err)
	}
	here, err := filepath.Abs(".")
	must(t, err)
	proxy, app := t.TempDir(), t.TempDir()
	cache := filepath.Join(goTool(t, here, nil, "env", "GOMODCACHE"))
	version := goTool(t, tools, nil, "run", "./modproxy", "-dir", here, "-version", "v0.0.0-", "-out", proxy)
	// The cache of modules is the user's: what is put into it here is taken out again.
	t.Cleanup(func() {
		_ = os.RemoveAll(filepath.Join(cache, filepath.FromSlash(modulePath)+"@"+version))
		kept, _ := filepath.Glob(filepath.Join(cache, "cache", "download", filepath.FromSlash(modulePath), "@v", version+"*"))
		for _, one := range kept {
			_ = os.Remove(one)
		}
	})
	env := []string{
		"GOPROXY=file://" + proxy + "," + goTool(t, here, nil, "env", "GOPROXY"),
		"GOSUMDB=off", "GOFLAGS=-modcacherw", "GOWORK=off",
	}
	goTool(t, app, env, "mod", "init", "example.org/app")
	must(t, os.WriteFile(filepath.Join(app, "main.go"), []byte(firstProgram), 0o600))
	goTool(t, app, env, "get", modulePath+"@"+version)
	equal(t, goTool(t, app, env, "run", "."), "installed created")
}

func goTool(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir, command.Env = dir, append(os.Environ(), env...)
	said := &strings.Builder{}
	command.Stderr = said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(string(out))
}
