package exactapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/exactauth/exactauth/internal/fault"
)

// Division is a company that the user can open.
type Division struct {
	Code         int
	Description  string // the company's name
	CustomerName string // of the licence that it belongs to
	Status       int    // 0 inactive, 1 active, 2 archived
	Main         bool   // the licence's main division
}

// Divisions returns the companies that the user can open, over all licences, as
// seen from the division current. Some licences have only the older of the two
// lists, which covers one licence; then Divisions returns that one (Exact KB, API
// reference).
func Divisions(ctx context.Context, c *Client, current int) ([]Division, error) {
	base := fmt.Sprintf("/api/v1/%d", current)
	all, err := divisions(ctx, c, base+"/system/Divisions?$select=Code,Description,CustomerName,Status,IsMainDivision")
	if refused := (*fault.ServerError)(nil); errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusForbidden) {
		if older, olderErr := divisions(ctx, c, base+"/hrm/Divisions?$select=Code,Description,CustomerName,Status,Main"); olderErr == nil {
			return older, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("divisions: %w", err)
	}
	return all, nil
}

func divisions(ctx context.Context, c *Client, path string) ([]Division, error) {
	type record struct {
		Code                      int
		Description, CustomerName string
		Status                    int
		IsMainDivision, Main      bool
	}
	var all []Division
	for d, err := range Records[record](ctx, c, path) {
		if err != nil {
			return nil, err
		}
		all = append(all, Division{d.Code, fault.Printable(d.Description), fault.Printable(d.CustomerName), d.Status, d.IsMainDivision || d.Main})
	}
	return all, nil
}
