package exactauth

import (
	"errors"
	"testing"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

func TestUsersWhoLookTheSame(t *testing.T) {
	t.Parallel()
	ann := record.User{ID: "1", FullName: "Ann"}
	if got, want := *takenBy(ann, record.User{ID: "2", FullName: "Ann"}), (TakenError{"Ann (1)", "Ann (2)"}); got != want {
		t.Errorf("%q", got)
	}
	if got, want := *takenBy(ann, record.User{ID: "2", FullName: "Eve"}), (TakenError{"Ann", "Eve"}); got != want {
		t.Errorf("%q", got)
	}
}

// Each way in which a sign-in can end has a last page of its own.
func TestLastPages(t *testing.T) {
	ends := map[string]error{
		"refused": fault.Wrap(fault.ErrDenied, &callback.RefusedError{Code: "access_denied"}, "sign-in refused"),
		"taken":   fault.Wrap(fault.ErrConfig, &TakenError{"Ann", "Eve"}, "profile acme"),
		"code":    fault.Wrap(fault.ErrLoginNeeded, &fault.ServerError{Status: 400, Code: "invalid_grant"}, "Exact did not accept the code"),
		"client":  fault.New(fault.ErrConfig, "client secret"),
		"away":    fault.New(fault.ErrTemporary, "cannot reach"),
		"disk":    errors.New("no space left on device"),
	}
	for name, want := range map[string]callback.Page{
		"refused": callback.Refused("Exact", &callback.RefusedError{Code: "access_denied"}),
		"taken":   callback.Failed("Dit profiel is van een andere gebruiker of van een andere app. De bestaande aanmelding blijft behouden.", ends["taken"]),
		"code":    callback.Failed("Exact heeft de code van deze aanmelding niet geaccepteerd. Zo'n code is 3 minuten geldig en werkt één keer.", ends["code"]),
		"client":  callback.Failed("De instellingen van dit profiel kloppen niet.", ends["client"]),
		"away":    callback.Failed("Exact gaf geen bruikbaar antwoord.", ends["away"]),
		"disk":    callback.Failed("De aanmelding kon niet worden opgeslagen.", ends["disk"]),
	} {
		if lastPage("exactauth token", record.User{}, ends[name]) != want {
			t.Errorf("%s: another page", name)
		}
	}
	if lastPage("exactauth token", record.User{}, nil) == lastPage("exactauth token", record.User{ID: "x", FullName: "Ann Archer"}, nil) {
		t.Error("the page does not name the user")
	}
}
