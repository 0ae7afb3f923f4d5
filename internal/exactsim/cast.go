package exactsim

import "fmt"

// The cast is an app and two people of a company that does not exist, for every
// sandbox, demo and test. The identifiers have the form of Exact's own. The mail
// addresses end in .example, a domain that is never registered (RFC 2606).
const (
	ClientID     = "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11"
	ClientSecret = "noRealSecret" // 12 characters, as at Exact
	AnnaID       = "2b5a7c1e-0d43-4f6b-9a1c-5e8f3d2b7a60"
	BobID        = "7d1f0b3a-52c4-4e0e-8f57-1c2b3a4d5e6f"
)

// Cast is what AddCast adds.
type Cast struct {
	App       App
	Anna, Bob User
}

// AddCast adds an app with this redirect URI, then Anna, who can open two
// divisions, then Bob, who can open one of them. To change one of the cast, call
// AddApp or AddUser with the changed value.
func (s *Sim) AddCast(redirectURI string) Cast {
	c := Cast{
		App: App{
			ClientID: ClientID, ClientSecret: ClientSecret, RedirectURI: redirectURI,
			Name: "exactauth sandbox", RequestedBy: "Voorbeeld B.V.", Unlisted: true,
		},
		Anna: Anna(),
		Bob: User{
			ID: BobID, UserName: "bob", FullName: "Bob Jansen", Email: "bob@voorbeeld.example",
			LanguageCode: "en-GB", CurrentDivision: 123456, Divisions: Divisions(1),
		},
	}
	s.AddApp(c.App)
	s.AddUser(c.Anna)
	s.AddUser(c.Bob)
	return c
}

// Anna returns the first of the cast, the user whom Config.AutoApprove signs in.
func Anna() User {
	return User{
		ID: AnnaID, UserName: "anna.devries", FullName: "Anna de Vries", Email: "anna@voorbeeld.example",
		LanguageCode: "nl-NL", CurrentDivision: 123456, Divisions: Divisions(2),
	}
}

// Divisions returns n companies of one licence, numbered from 123456. The first
// is the main one.
func Divisions(n int) []Division {
	names := []string{"Voorbeeld B.V.", "Voorbeeld België BV"}
	var all []Division
	for i := range n {
		d := Division{
			Code: 123456 + i, Description: fmt.Sprintf("Voorbeeld %d B.V.", i+1), CustomerName: "Voorbeeld Groep",
			HID: int64(i + 1), Status: 1, Main: i == 0,
		}
		if i < len(names) {
			d.Description = names[i]
		}
		all = append(all, d)
	}
	return all
}
