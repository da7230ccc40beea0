package mapping

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// listFunction declares list(value): a list as it is, a string as a list of one. Many providers send a single group as a
// plain string. A value of another type is an error, as it is no list of names.
func listFunction() cel.EnvOption {
	return cel.Function("list", cel.Overload("list_dyn", []*cel.Type{cel.DynType}, cel.ListType(cel.DynType), cel.UnaryBinding(func(v ref.Val) ref.Val {
		switch v := v.(type) {
		case traits.Lister:
			return v
		case types.String:
			return types.NewDynamicList(types.DefaultTypeAdapter, []ref.Val{v})
		default:
			return types.MaybeNoSuchOverloadErr(v)
		}
	})))
}
