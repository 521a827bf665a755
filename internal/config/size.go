package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Size is a number of bytes, written with its unit: B, KiB, MiB, GiB or TiB.
type Size int64

var sizeShape = regexp.MustCompile(`^([0-9]{1,18})(B|KiB|MiB|GiB|TiB)$`)

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(s string) (Size, error) {
	if s == "0" {
		return 0, nil
	}
	m := sizeShape.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("must be a size with its unit B, KiB, MiB, GiB or TiB (write 16MiB)")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err
	}
	for _, u := range sizeUnits {
		if u.name == m[2] {
			if n > math.MaxInt64/u.bytes {
				return 0, fmt.Errorf("is too large")
			}
			return Size(n * u.bytes), nil
		}
	}
	return 0, fmt.Errorf("has an unknown unit")
}

// String is the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
