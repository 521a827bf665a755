package bench

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestSpeedX(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("SIZE"))
	writers, _ := strconv.Atoi(os.Getenv("WRITERS"))
	for range 5 {
		dir := t.TempDir()
		load := Load{writers, size, 200 * time.Millisecond, 1 * time.Second}
		p, err := NewPlain(dir)
		if err != nil {
			t.Fatal(err)
		}
		sp, err := Drive(t.Context(), p, load)
		if err != nil {
			t.Fatal(err)
		}
		p.Close(t.Context())
		l, err := NewLimit(dir)
		if err != nil {
			t.Fatal(err)
		}
		sl, err := Drive(t.Context(), l, load)
		if err != nil {
			t.Fatal(err)
		}
		l.Close(t.Context())
		t.Logf("plain %+.4v bytes/msg %d", sp, p.commit.written/int64(sp.Acknowledged))
		t.Logf("limit %+.4v bytes/msg %d ratio %.2f", sl, l.commit.written/int64(sl.Acknowledged), sl.Rate/sp.Rate)
	}
}
