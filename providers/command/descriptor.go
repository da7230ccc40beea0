package command

import "github.com/idpsync/idpsync/providers"

// Kind describes the built-in source of a tenant's commands.
func Kind() providers.Descriptor {
	return providers.Descriptor{
		Kind: providers.KindCommand, Title: "command", New: New, BuiltIn: providers.AdminSource,
		Shapes: []providers.Shape{providers.ShapeTenant, providers.ShapeOrganization},
	}
}
