package main

import "strings"

// operatorName is the operator in the subjects of orders: the configured one, or the system's user as far as subjects take it.
func (c config) operatorName() string {
	if c.Operator != "" {
		return c.Operator
	}
	name, _, _ := strings.Cut(operator(), "@")
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, name)
	return name[:min(len(name), 63)]
}
