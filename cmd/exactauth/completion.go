package main

import (
	"context"
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

// complete offers a flag's values to the shell's completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	completeBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeBy offers the values that a function returns.
func completeBy(cmd *cobra.Command, flag string, offer cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // there is no such flag
	}
}

// completeProfiles offers the names of the profiles.
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
