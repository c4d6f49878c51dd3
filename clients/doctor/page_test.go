package doctor

import (
	"io/fs"
	"path"
	"regexp"
	"testing"
)

// The policy of gateway/page forbids inline scripts and styles and other origins. What others send must never become markup.
func TestThePageKeepsToItsPolicyAndIsSmall(t *testing.T) {
	size := 0
	err := fs.WalkDir(Page, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := Page.ReadFile(name)
		size += len(body)
		bad := `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function`
		if path.Base(name) == "index.html" {
			bad = `<style|<script[^>]*>[^<]| style=| on\w+=|https?://|//[a-z]`
		}
		if found := regexp.MustCompile(bad).Find(body); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size == 0 || size > 64<<10 {
		t.Errorf("the page has %d bytes, want some and at most 64 KiB", size)
	}
	t.Logf("%d bytes", size)
}
