package lessor_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var blocks = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestReadmeIsExecuted: what the README shows is part of the examples, which are run.
func TestReadmeIsExecuted(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	must(t, err)
	examples, err := os.ReadFile("example_test.go")
	must(t, err)
	code := unindented(string(examples))
	found := blocks.FindAllStringSubmatch(string(readme), -1)
	if len(found) == 0 {
		t.Fatal("the README shows no code")
	}
	for _, block := range found {
		if !strings.Contains(code, unindented(block[1])) {
			t.Errorf("no example has this:\n%s", block[1])
		}
	}
}

func unindented(code string) string {
	var plain strings.Builder
	for line := range strings.Lines(code) {
		plain.WriteString(strings.TrimSpace(line) + "\n")
	}
	return plain.String()
}
