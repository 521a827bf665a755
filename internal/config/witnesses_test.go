package config

import (
	"strings"
	"testing"
)

const (
	witness1 = "witness.example.it/w1+30529d13+BGuGsnP/NPzhnWuATv9aP1dHraTqoi8dScAeUt23h1tL"
	listOf1  = `{url: "https://w.example/x", key: "` + witness1 + `"}`
)

func TestWitnessesDefaultToMoreThanHalf(t *testing.T) {
	c := load(t, minimal+"\nwitnesses: {list: ["+listOf1+"]}\n")
	if c.Witnesses.Quorum != 1 || c.Witnesses.List[0].URL != "https://w.example/x" {
		t.Errorf("%+v", c.Witnesses)
	}
	if c = load(t, minimal); c.Witnesses.Quorum != 0 || len(c.Witnesses.List) != 0 {
		t.Errorf("witnesses out of nothing: %+v", c.Witnesses)
	}
	if c = load(t, string(Example())); c.Witnesses.Quorum != 2 || len(c.Witnesses.List) != 2 {
		t.Errorf("example %+v", c.Witnesses)
	}
	w := Witnesses{List: make([]Witness, 4)}
	if w.setDefaults(); w.Quorum != 3 {
		t.Errorf("%d of 4", w.Quorum)
	}
}

func TestBadWitnesses(t *testing.T) {
	for want, section := range map[string]string{
		"witnesses.list: is required in this section":          `{quorum: 1}`,
		"witnesses.quorum: must be from 1 to the number":       `{quorum: 2, list: [` + listOf1 + `]}`,
		"witnesses.list: must have at most 32":                 `{list: [` + strings.Repeat("{}, ", 32) + `{}]}`,
		"witnesses.list[0].url: is required":                   `{list: [{key: "` + witness1 + `"}]}`,
		"witnesses.list[0].url: must be https":                 `{list: [{url: "http://w.example", key: "` + witness1 + `"}]}`,
		"witnesses.list[0].url: must contain no user":          `{list: [{url: "https://u:LITERAL@w.example", key: "` + witness1 + `"}]}`,
		"witnesses.list[0].key: is required":                   `{list: [{url: "https://w.example"}]}`,
		"witnesses.list[0].key: must be a verifier key":        `{list: [{url: "https://w.example", key: w}]}`,
		"witnesses.list[0].key: must end in base64":            `{list: [{url: "https://w.example", key: "a+00000000+!"}]}`,
		"witnesses.list[0].key: must be an Ed25519 cosignatur": `{list: [{url: "https://w.example", key: "a+00000000+AQAA"}]}`,
		"witnesses.list[0].key: has a hash that does not fit":  `{list: [{url: "https://w.example", key: "` + strings.Replace(witness1, "w1", "w2", 1) + `"}]}`,
		"witnesses.list[1].key: is the same as":                `{list: [` + listOf1 + `, {url: "https://v.example", key: "` + witness1 + `"}]}`,
		"witnesses.list[1].url: is the same as":                `{list: [` + listOf1 + `, {url: "https://w.example/x/", key: "` + witness1 + `"}]}`,
	} {
		_, err := Load(write(t, "sigillo.yaml", minimal+"\nwitnesses: "+section+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v\nlacks %s", section, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "LITERAL") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}
