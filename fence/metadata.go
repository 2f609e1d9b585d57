package fence

import "encoding/xml"

// maxMetadata bounds the metadata that is read from an agent, in bytes; the
// longest of the well-known agents is about a tenth of it.
const maxMetadata = 512 << 10

// listsAction reports whether an agent's metadata lists the action. ok is false
// when the text is not the metadata of an agent.
func listsAction(text []byte, action string) (listed, ok bool) {
	var agent struct {
		XMLName xml.Name `xml:"resource-agent"`
		Actions []struct {
			Name string `xml:"name,attr"`
		} `xml:"actions>action"`
	}
	if err := xml.Unmarshal(text, &agent); err != nil {
		return false, false
	}
	for _, a := range agent.Actions {
		if a.Name == action {
			return true, true
		}
	}
	return false, len(agent.Actions) > 0
}
