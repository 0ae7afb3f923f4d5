package fault_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
)

const hidden = "stampNL001.dontshow!IAAAA"

// holders are all the ways in which a secret can be part of something else.
func holders() map[string]any {
	s := fault.NewSecret(hidden)
	type open struct{ S fault.Secret }
	type shut struct{ s fault.Secret }
	type deep struct {
		a any
		p *fault.Secret
		l []shut
		m map[string]open
	}
	ps := &s
	return map[string]any{
		"itself":            s,
		"pointer":           ps,
		"pointer's pointer": &ps,
		"field":             open{s},
		"unexported field":  shut{s},
		"pointer to field":  &shut{s},
		"slice":             []fault.Secret{s},
		"array":             [1]fault.Secret{s},
		"slice of any":      []any{s, &s, open{s}, shut{s}},
		"map":               map[string]fault.Secret{"k": s},
		"map's key":         map[fault.Secret]int{s: 1},
		"deep":              deep{s, &s, []shut{{s}}, map[string]open{"k": {s}}},
		"pointer to deep":   &deep{s, &s, []shut{{s}}, map[string]open{"k": {s}}},
		"error":             fmt.Errorf("with %v, %+v, %#v, %s, %q: %w", s, s, s, s, s, errors.New("x")),
		"open in a struct":  open{S: s},
	}
}

// shows reports whether text has the secret in one of the forms that verbs give it.
func shows(text string) bool {
	lower := strings.ToLower(text)
	for _, form := range []string{"dontshow", fmt.Sprintf("%x", "dontshow"), "ZG9udHNob3", fmt.Sprint([]byte("dontshow"))[1:20]} {
		if strings.Contains(lower, strings.ToLower(form)) {
			return true
		}
	}
	return false
}

func TestSecretIsNotFormatted(t *testing.T) {
	t.Parallel()
	for name, v := range holders() {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "60", "-60", ".3", "+60.30"} {
			for verb := 'A'; verb <= 'z'; verb++ {
				if text := fmt.Sprintf("%"+flags+string(verb), v); shows(text) {
					t.Errorf("%s with %%%s%c: %s", name, flags, verb, text)
				}
			}
		}
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintln(v), fmt.Sprintf("%[2]*[1]v", v, 9), fmt.Errorf("x: %v", v).Error()} {
			if shows(text) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
	if got := fmt.Sprintf("%v %s %q %d", fault.NewSecret(hidden), fault.NewSecret(hidden), fault.Secret{}, fault.NewSecret("x")); got != "[secret] [secret] [secret] [secret]" {
		t.Error(got)
	}
}

// A secret is not encoded at all: a masked one in a store would be lost.
func TestSecretIsNotEncoded(t *testing.T) {
	t.Parallel()
	s := fault.NewSecret(hidden)
	for name, v := range map[string]any{
		"itself": s, "pointer": &s, "field": struct{ S fault.Secret }{s}, "slice": []any{s},
		"map": map[string]any{"k": s}, "map's key": map[fault.Secret]int{s: 1},
		"zero": fault.Secret{},
	} {
		if b, err := json.Marshal(v); err == nil || shows(string(b)) || shows(err.Error()) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if b, err := xml.Marshal(struct{ S fault.Secret }{s}); err == nil || shows(string(b)) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestSecretIsNotLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, options), slog.NewJSONHandler(&out, options)} {
		log := slog.New(handler)
		for name, v := range holders() {
			out.Reset()
			log.Info("m", "k", v, slog.Group("g", slog.Any("k", v)))
			log.With("k", v).WithGroup("g").Info("m", slog.Any("k", []any{v}))
			log.Info(fmt.Sprint("m ", v))
			if shows(out.String()) {
				t.Errorf("%s: %s", name, out.String())
			}
		}
	}
	out.Reset()
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", fault.NewSecret(hidden))
	if !strings.Contains(out.String(), `"k":"[secret]"`) {
		t.Error(out.String())
	}
}

func TestSecretIsNotShownOnAPage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	page := template.Must(template.New("").Parse(`<a href="{{.}}">{{.}}</a><script>{{.}}</script>`))
	page.Execute(&out, fault.NewSecret(hidden)) // an error is as good as a mask
	if shows(out.String()) {
		t.Error(out.String())
	}
}

func TestSecretReveals(t *testing.T) {
	t.Parallel()
	if s := fault.NewSecret(hidden); s.Reveal() != hidden || s.IsZero() {
		t.Error("it does not reveal itself")
	}
	for _, s := range []fault.Secret{{}, fault.NewSecret("")} {
		if s.Reveal() != "" || !s.IsZero() {
			t.Error("an empty secret is not zero")
		}
	}
}
