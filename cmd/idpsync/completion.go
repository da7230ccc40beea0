package main

import (
	"github.com/spf13/cobra"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes commands in a shell",
		Long: `Print the script that completes commands in a shell.

  bash        source <(idpsync completion bash)
  zsh         idpsync completion zsh > "${fpath[1]}/_idpsync"
  fish        idpsync completion fish | source
  powershell  idpsync completion powershell | Out-String | Invoke-Expression`,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.ExactArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			default:
				return kit.Fail(kit.ExitUsage, "one of bash, zsh, fish, powershell", "unknown shell %q", args[0])
			}
		},
	}
}
