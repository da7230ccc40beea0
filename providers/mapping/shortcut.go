package mapping

// A shortcut answers for one of the default expressions without CEL, as most events need nothing else. It answers only
// where it is certain to answer as CEL would; FuzzDefaults holds it to that. false means that CEL has to answer.
type shortcut func(*Vars) (any, state, bool)

// shortcutOf returns the shortcut of a default expression, or nil.
func shortcutOf(expr string) shortcut {
	switch expr {
	case attributeDefaults["email"]:
		return samlEmail
	case attributeDefaults["name"]:
		return firstShortcut(samlName)
	case attributeDefaults["first_name"]:
		return firstShortcut(samlFirstName)
	case attributeDefaults["last_name"]:
		return firstShortcut(samlLastName)
	case resourceDefaults["email"]:
		return feedEmail
	case resourceDefaults["name"]:
		return feedName
	case resourceDefaults["roles"]:
		return feedRoles
	}
	return nil
}

func firstShortcut(attributes []string) shortcut {
	return func(vars *Vars) (any, state, bool) {
		for _, name := range attributes {
			if values := vars.Attributes[name]; len(values) > 0 {
				return values[0], present, true
			}
		}
		return nil, absent, true
	}
}

func samlEmail(vars *Vars) (any, state, bool) {
	v, s, ok := firstShortcut(samlMail)(vars)
	if s == absent && vars.NameIDFormat == emailFormat {
		return vars.NameID, present, true
	}
	return v, s, ok
}

func feedEmail(vars *Vars) (any, state, bool) {
	v, ok := vars.Resource["emails"]
	if !ok {
		return nil, absent, true
	}
	list, ok := v.([]any)
	if !ok {
		return nil, absent, false
	}
	var chosen map[string]any
	primary := false
	for i, item := range list {
		email, ok := item.(map[string]any)
		if !ok {
			return nil, absent, false
		}
		first := email["primary"] == true && !primary
		if first || i == 0 {
			chosen = email
		}
		primary = primary || first
	}
	if v, ok = chosen["value"]; !ok {
		return nil, absent, true
	}
	return v, present, true
}

func feedName(vars *Vars) (any, state, bool) {
	if v, ok := vars.Resource["displayName"]; ok {
		return v, present, true
	}
	v, ok := vars.Resource["name"]
	if !ok {
		return nil, absent, true
	}
	name, ok := v.(map[string]any)
	if !ok {
		return nil, absent, false
	}
	if v, ok = name["formatted"]; !ok {
		return nil, absent, true
	}
	return v, present, true
}

func feedRoles(vars *Vars) (any, state, bool) {
	v, ok := vars.Resource["roles"]
	if !ok {
		return nil, absent, true
	}
	list, ok := v.([]any)
	if !ok {
		return nil, absent, false
	}
	values := make([]any, len(list))
	for i, item := range list {
		role, ok := item.(map[string]any)
		if !ok {
			return nil, absent, false
		}
		if values[i], ok = role["value"]; !ok {
			return nil, absent, false
		}
	}
	return values, present, true
}
