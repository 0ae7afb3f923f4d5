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

func anything(any) error { return nil }

// text is a string of at most longest characters in which the pattern matches.
func text(longest int, pattern string) func(any) error {
	matches := regexp.MustCompile(pattern).MatchString
	return func(v any) error {
		s, ok := v.(string)
		if !ok || len([]rune(s)) > longest || !matches(s) {
			return fmt.Errorf("want a string of at most %d characters that matches %q", longest, pattern)
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
			if err := text(longest, "")(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func oneOf(values ...any) func(any) error {
	return func(v any) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("want one of %v", values)
		}
		return nil
	}
}

func upstreamParams(v any) error {
	params, ok := v.(map[string]any)
	if !ok && v != nil {
		return fmt.Errorf("want an object")
	}
	aliases := oneOf("acr_values", "audience", "client_id", "display", "id_token_hint", "login_hint", "max_age", "prompt", "resource", "response_mode", "response_type", "ui_locales")
	for _, p := range params {
		if err := checkObject(p, schema{"alias": aliases, "value": text(1024, "")}); err != nil {
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
		"client_id":                text(36, `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`),
		"client_secret":            text(255, ""),
		"baseUrl":                  text(128, `^https://`),
		"profile":                  oneOf(true, false),
		"set_user_root_attributes": oneOf("on_each_login", "on_first_login", "never_on_login"),
		"non_persistent_attrs":     listOf(255, 96),
		"upstream_params":          upstreamParams,
	})
	return schema{
		"display_name":         text(128, ""),
		"is_domain_connection": oneOf(true, false),
		"metadata":             anything,
		"options":              func(v any) error { return checkObject(v, options) },
	}
}

func newConnection() schema {
	s := changedConnection(nil)
	s["name"] = text(128, `^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)
	s["strategy"] = oneOf("exact")
	return s
}
