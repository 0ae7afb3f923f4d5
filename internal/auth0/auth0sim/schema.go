package auth0sim

import (
	"maps"
	"regexp"
	"slices"
)

// A schema is what an object may hold: a check for each name.
type schema map[string]func(v any) bool

// problem says what in v is not as the schema has it; empty if nothing.
func (s schema) problem(v any, required ...string) string {
	m, ok := v.(map[string]any)
	if !ok {
		return "want an object"
	}
	for name, value := range m {
		if check := s[name]; check == nil || !check(value) {
			return "not allowed: " + name
		}
	}
	for _, name := range required {
		if _, ok := m[name]; !ok {
			return "missing required property: " + name
		}
	}
	return ""
}

func anything(any) bool { return true }

// text is a string of at most longest characters in which the pattern matches.
func text(longest int, pattern string) func(any) bool {
	matches := regexp.MustCompile(pattern).MatchString
	return func(v any) bool {
		s, ok := v.(string)
		return ok && len([]rune(s)) <= longest && matches(s)
	}
}

// listOf is a list of strings; most is 0 for no limit.
func listOf(longest, most int) func(any) bool {
	return func(v any) bool {
		list, ok := v.([]any)
		wrong := func(item any) bool { return !text(longest, "")(item) }
		return ok && (most == 0 || len(list) <= most) && !slices.ContainsFunc(list, wrong)
	}
}

func oneOf(values ...any) func(any) bool {
	return func(v any) bool { return slices.Contains(values, v) }
}

func upstreamParams(v any) bool {
	params, ok := v.(map[string]any)
	ok = ok || v == nil
	aliases := oneOf("acr_values", "audience", "client_id", "display", "id_token_hint", "login_hint", "max_age", "prompt", "resource", "response_mode", "response_type", "ui_locales")
	for _, p := range params {
		ok = ok && schema{"alias": aliases, "value": text(1024, "")}.problem(p) == ""
	}
	return ok
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
		"options":              func(v any) bool { return options.problem(v) == "" },
	}
}

func newConnection() schema {
	s := changedConnection(nil)
	s["name"] = text(128, `^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)
	s["strategy"] = oneOf("exact")
	return s
}
