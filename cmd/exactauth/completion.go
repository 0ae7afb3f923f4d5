package main

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

var shells = map[string]struct{ name, long, example string }{
	"bash": {"bash", `Prints the completion script for bash. With the package bash-completion, save it
where that looks, for each new shell:

  mkdir -p ~/.local/share/bash-completion/completions
  exactauth completion bash \
      > ~/.local/share/bash-completion/completions/exactauth

Without that package it works too: put the line below in ~/.bashrc. Typed at the
prompt, the line is for this shell only.`,
		`  eval "$(exactauth completion bash)"`},
	"zsh": {"zsh", `Prints the completion script for zsh. Save it as _exactauth in a directory that
fpath has before compinit runs:

  mkdir -p ~/.zfunc
  exactauth completion zsh > ~/.zfunc/_exactauth

~/.zshrc needs these lines, in this order. Where a framework such as Oh My Zsh
runs compinit, put the first line before the framework's:

  fpath=(~/.zfunc $fpath)
  autoload -U compinit && compinit

Then start a new shell. If it completes nothing, delete the files ~/.zcompdump*.
After compinit, the line below is for this shell only.`,
		`  source <(exactauth completion zsh)`},
	"fish": {"fish", `Prints the completion script for fish. Save it where fish looks, for each new
shell:

  mkdir -p ~/.config/fish/completions
  exactauth completion fish > ~/.config/fish/completions/exactauth.fish

The line below is for this shell only.`,
		`  exactauth completion fish | source`},
	"powershell": {"PowerShell", `Prints the completion script for PowerShell. For each new session, put the line
below in the file that $PROFILE names; this makes the file and opens it:

  if (!(Test-Path $PROFILE)) { New-Item -ItemType File -Force $PROFILE }
  notepad $PROFILE

Typed at the prompt, the line is for this session only.`,
		`  exactauth completion powershell | Out-String | Invoke-Expression`},
}

// bashWords replaces the function of cobra's script that needs the package
// bash-completion, and that the script calls without the package. It finds the words up
// to the cursor: bash also splits at = and :, so what no blank separates is joined.
//
//go:embed completion.bash
var bashWords string

func complete(cmd *cobra.Command, flag string, values ...string) {
	completeBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func completeBy(cmd *cobra.Command, flag string, offer cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // there is no such flag
	}
}

func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	conf, err := config.Read(a.Env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return conf.Names(), cobra.ShellCompDirectiveNoFileComp
}

// knownPaths are lists of Exact's REST API that scripts often read, below a division
// (Exact's REST API reference).
const knownPaths = `bulk/CRM/Accounts bulk/Financial/TransactionLines bulk/Logistics/Items bulk/SalesInvoice/SalesInvoices
	cashflow/PaymentConditions cashflow/Payments cashflow/Receivables crm/Accounts crm/Contacts crm/Opportunities documents/Documents
	financial/FinancialPeriods financial/GLAccounts financial/Journals financialtransaction/BankEntries financialtransaction/TransactionLines
	generaljournalentry/GeneralJournalEntries hrm/Costcenters hrm/Costunits hrm/Divisions inventory/ItemWarehouses logistics/ItemGroups
	logistics/Items project/Projects project/TimeTransactions purchaseentry/PurchaseEntries purchaseorder/PurchaseOrders
	read/financial/AgingReceivablesList read/financial/PayablesList read/financial/ReceivablesList salesentry/SalesEntries
	salesinvoice/SalesInvoices salesorder/GoodsDeliveries salesorder/SalesOrders subscription/Subscriptions sync/CRM/Accounts
	system/AllDivisions system/Divisions system/Users vat/VATCodes webhooks/WebhookSubscriptions`

// completeAPI offers the PATH of "api": a division, then a list.
func (a *app) completeAPI(cmd *cobra.Command, args []string, typed string) (offers []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	begin := ""
	if strings.HasPrefix(typed, apiRoot) {
		begin = apiRoot
	}
	if division, _, ok := strings.Cut(strings.TrimPrefix(typed, begin), "/"); ok {
		for path := range strings.FieldsSeq(knownPaths) {
			offers = append(offers, begin+division+"/"+path)
		}
		return offers, cobra.ShellCompDirectiveNoFileComp
	}
	offers = []string{begin + "current/Me", begin + divisionMark + "/\tthe pinned division, or the current one"}
	codes, _ := a.completeDivisions(cmd, nil, typed)
	for _, code := range codes {
		offers = append(offers, begin+strings.Replace(code, "\t", "/\t", 1))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completeDivisions offers the pinned divisions, and the one that was current at the
// profile's sign-in. It asks no server and reads only records in files without a seal:
// a keyring may have to be unlocked, and a database may be slow.
func (a *app) completeDivisions(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	conf, err := config.Read(a.Env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found := map[int]string{}
	for _, name := range conf.Names() {
		if code, err := strconv.Atoi(conf.Profiles[name]["division"]); err == nil && code > 0 {
			found[code] = "pinned in profile " + name
		}
	}
	name := a.profileName
	if len(args) > 0 { // of "use NAME"
		name = args[0]
	}
	p, err := conf.Resolve(a.Env, name)
	if err == nil && p.Store == config.StoreFile && p.Seal == config.SealNone {
		if current := a.divisionAtSignIn(p); current > 0 {
			found[current] = "current when profile " + p.Name + " signed in"
		}
	}
	var offers []string
	for _, code := range slices.Sorted(maps.Keys(found)) {
		offers = append(offers, fmt.Sprintf("%d\t%s", code, found[code]))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// divisionAtSignIn returns the division in the profile's record, or 0. It runs no
// command that prints a client secret.
func (a *app) divisionAtSignIn(p config.Settings) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := a.client(ctx, p)
	if err != nil {
		return 0
	}
	c.ClientSecret = func(context.Context) (fault.Secret, error) { return fault.Secret{}, nil }
	s, err := c.Status(ctx)
	if err != nil {
		return 0
	}
	return s.User.Division
}
