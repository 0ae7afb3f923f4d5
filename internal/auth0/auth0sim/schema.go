package auth0sim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// A schema is what an object may hold: a check for each name.
type schema map[string]func(v any) error

func checkObject(v any, s schema, required ...string) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object")
	}
	for name, value := range m {
		check, ok := s[name]
		if !ok {
			return fmt.Errorf("additional properties not allowed: %s", name)
		}
		if err := check(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range required {
		if _, ok := m[name]; !ok {
			return fmt.Errorf("missing required property: %s", name)
		}
	}
	return nil
}

func boolean(v any) error {
	if _, ok := v.(bool); !ok {
		return fmt.Errorf("want a boolean")
	}
	return nil
}

func anything(any) error { return nil }

func text(shortest, longest int, patterns ...string) func(any) error {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("want a string")
		}
		if n := len([]rune(s)); n < shortest || n > longest {
			return fmt.Errorf("want %d to %d characters, not %d", shortest, longest, n)
		}
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(s) {
				return fmt.Errorf("does not match %s", p)
			}
		}
		return nil
	}
}

// listOf is a list of strings; most is 0 for no limit.
func listOf(longest, most int) func(any) error {
	return func(v any) error {
		list, ok := v.([]any)
		if !ok || most > 0 && len(list) > most {
			return fmt.Errorf("want a list of at most %d strings", most)
		}
		for _, item := range list {
			if err := text(0, longest)(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func oneOf(values ...string) func(any) error {
	return func(v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			return fmt.Errorf("want one of %v", values)
		}
		return nil
	}
}

func upstreamParams(v any) error {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object")
	}
	for _, p := range m {
		aliases := oneOf("acr_values", "audience", "client_id", "display", "id_token_hint", "login_hint", "max_age", "prompt", "resource", "response_mode", "response_type", "ui_locales")
		if err := checkObject(p, schema{"alias": aliases, "value": text(0, 1024)}); err != nil {
			return err
		}
	}
	return nil
}

// changedConnection is what a PATCH may hold: neither name nor strategy, and of
// the options that the schema does not name only those that were there before.
func changedConnection(before map[string]any) schema {
	options := schema{}
	for name := range before {
		options[name] = anything
	}
	// The connection schema's exact strategy.
	maps.Copy(options, schema{
		"client_id":                text(36, 36, `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`),
		"client_secret":            text(0, 255),
		"baseUrl":                  text(8, 128, `^https://`),
		"profile":                  boolean,
		"set_user_root_attributes": oneOf("on_each_login", "on_first_login", "never_on_login"),
		"non_persistent_attrs":     listOf(255, 96),
		"upstream_params":          upstreamParams,
	})
	return schema{
		"display_name":         text(0, 128),
		"is_domain_connection": boolean,
		"metadata":             anything,
		"options":              func(v any) error { return checkObject(v, options) },
	}
}

// newConnection is what a POST may hold.
func newConnection() schema {
	s := changedConnection(nil)
	s["name"] = text(1, 128, `^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)
	s["strategy"] = oneOf("exact")
	return s
}
