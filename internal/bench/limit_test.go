package bench

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestSpeedX(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("SIZE"))
	for range 2 {
		dir := t.TempDir()
		l, err := NewLimit(dir)
		if err != nil {
			t.Fatal(err)
		}
		sl, err := Drive(t.Context(), l, Load{256, size, 300 * time.Millisecond, 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		l.Close(t.Context())
		t.Logf("limit %+v bytes/msg %d", sl, l.commit.written/int64(sl.Acknowledged))
	}
}
