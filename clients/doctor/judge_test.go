package doctor

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// TestJudgesAsTheVectorsSay: doctor.test.ts says the same of the page.
func TestJudgesAsTheVectorsSay(t *testing.T) {
	text, err := os.ReadFile("testdata/judge.json")
	if err != nil {
		t.Fatal(err)
	}
	type want struct {
		Codes []string
		Text  string // of the last finding
	}
	var vectors struct {
		Observations []struct {
			want
			Seen Observation
		}
		Pongs []struct {
			want
			Seen Pong
		}
		Idle []struct {
			want
			Held, Silent float64
			Seen         Observation
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	check := func(seen any, want want, found []Finding) {
		t.Helper()
		var codes []string
		last := ""
		for _, f := range found {
			codes, last = append(codes, f.Code), f.Text
		}
		if !slices.Equal(codes, want.Codes) || want.Text != "" && want.Text != last {
			t.Errorf("%+v:\ngot %q %q\nwant %q %q", seen, codes, last, want.Codes, want.Text)
		}
	}
	for _, v := range vectors.Observations {
		check(v.Seen, v.want, Judge(v.Seen))
	}
	for _, v := range vectors.Pongs {
		check(v.Seen, v.want, JudgePong(v.Seen))
	}
	for _, v := range vectors.Idle {
		check(v.Seen, v.want, JudgeIdle(v.Held, v.Silent, v.Seen))
	}
}
