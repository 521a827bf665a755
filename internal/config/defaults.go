package config

import (
	"path/filepath"
	"strings"
	"time"
)

// setDefaults fills what the file left out, as the fields' comments say.
func (c *Config) setDefaults() {
	fill(&c.Disk.Warn, 2<<30)
	fill(&c.Disk.Stop, 512<<20)
	fill(&c.Signing.Timeout, 2*time.Second)
	fill(&c.Signing.Grace, 4*time.Hour)
	fill(&c.Admin.Address, "127.0.0.1:9640")
	fill(&c.Server.HeaderBytes, 64<<10)
	fill(&c.Server.Concurrent, 512)
	fill(&c.Server.Idle, time.Minute)
	fill(&c.Server.ShutdownGrace, 30*time.Second)
	fill(&c.Timestamp.Interval, time.Minute)
	fill(&c.Timestamp.Grace, 4*time.Hour)
	for i := range c.Timestamp.Authorities {
		fill(&c.Timestamp.Authorities[i].Timeout, 10*time.Second)
	}
	if len(c.Classes) == 0 {
		c.Classes = []Class{{Name: "audit-10y", Years: 10}}
	}
	for i := range c.Listeners {
		fill(&c.Listeners[i].Class, c.Classes[0].Name)
	}
	for i := range c.Archive.Producers {
		if p := &c.Archive.Producers[i]; p.IPACode != "" {
			fill(&p.AOOName, p.Name)
		}
	}
	c.Witnesses.setDefaults()
	c.setKeyDefaults()
	c.setAnchorDefaults()
	for i := range c.Participants {
		c.Participants[i].setDefaults()
	}
	for i := range c.Routes {
		c.Routes[i].setDefaults(c.Classes[0].Name)
	}
}

func (c *Config) setKeyDefaults() {
	switch c.Keys.Custody {
	case "file":
		fill(&c.Keys.Dir, filepath.Join(c.Data, "keys"))
	case "vault":
		v := &c.Keys.Vault
		fill(&v.Mount, "transit")
		fill(&v.ClassMount, "sigillo-class")
		fill(&v.Auth.Method, "approle")
		fill(&v.Names.Checkpoint, "sigillo-checkpoint")
		fill(&v.Names.Receipt, "sigillo-receipt")
		fill(&v.Names.Seal, "sigillo-seal")
		fill(&v.Timeout, 5*time.Second)
	}
	if c.Timestamp.Test {
		fill(&c.Timestamp.TestDir, filepath.Join(c.Data, "test-tsa"))
	}
}

// setDefaults derives roles: the prefix of an id is its role; a broker has those of whom it speaks for.
func (p *Participant) setDefaults() {
	for i := range p.Certificates {
		p.Certificates[i].SHA256 = strings.ToLower(strings.ReplaceAll(p.Certificates[i].SHA256, ":", ""))
	}
	if len(p.Roles) > 0 {
		return
	}
	for _, role := range []string{"ec", "psp", "node"} {
		speaks := strings.HasPrefix(p.ID, role+":")
		for _, id := range p.SpeaksFor {
			speaks = speaks || strings.HasPrefix(p.ID, "broker:") && strings.HasPrefix(id, role+":")
		}
		if speaks {
			p.Roles = append(p.Roles, role)
		}
	}
}

func (r *Route) setDefaults(class string) {
	fill(&r.Class, class)
	if len(r.Serves) == 0 && r.Principal != "" {
		r.Serves = []string{r.Principal}
	}
	fill(&r.Barriers.Request, "durable")
	fill(&r.Barriers.Response, "signed")
	fill(&r.Timeouts.Body, 30*time.Second)
	if strings.HasPrefix(r.Direction, "node->") {
		fill(&r.Timeouts.Upstream, 6*time.Second)
	}
	fill(&r.Timeouts.Upstream, 30*time.Second)
	fill(&r.Limits.Body, 16<<20)
	fill(&r.Limits.Response, 16<<20)
}

// fill sets *field to value where it is zero.
func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
