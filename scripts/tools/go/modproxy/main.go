// Command modproxy packs a Go module as a release does, into a folder that GOPROXY can name:
//
//	modproxy -dir client-go -version v0.1.0 -out packages
//
// A version that ends with a hyphen is completed by a digest of the files. It prints the version.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/zip"
)

func main() {
	dir := flag.String("dir", ".", "folder of the module")
	version := flag.String("version", "v0.0.0-", "version of the module")
	out := flag.String("out", "packages", "folder of the proxy")
	flag.Parse()
	made, err := pack(*dir, *version, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(made)
}

func pack(dir, version, out string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(version, "-") {
		digest, err := digestOf(dir)
		if err != nil {
			return "", err
		}
		version += digest
	}
	made := module.Version{Path: modfile.ModulePath(text), Version: version}
	if err := module.Check(made.Path, made.Version); err != nil {
		return "", err
	}
	path, err := module.EscapePath(made.Path)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(out, filepath.FromSlash(path), "@v")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	packed, err := os.Create(filepath.Join(folder, version+".zip"))
	if err != nil {
		return "", err
	}
	if err := zip.CreateFromDir(packed, made, dir); err != nil {
		return "", err
	}
	if err := packed.Close(); err != nil {
		return "", err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC()})
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{
		version + ".mod": text, version + ".info": info, "list": []byte(version + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return "", err
		}
	}
	return version, nil
}

// digestOf is as long as a version may well end with.
func digestOf(dir string) (string, error) {
	hash, err := dirhash.HashDir(dir, "", dirhash.Hash1)
	if err != nil {
		return "", err
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hash, "h1:"))
	if err != nil {
		return "", err
	}
	return "x" + hex.EncodeToString(sum[:6]), nil
}
