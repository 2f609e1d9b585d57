package rpc

import (
	"crypto/x509"
	"net/url"
	"testing"
)

// TestPermissions_AreTotal: every registered method has its line in the table,
// and the table has no other.
func TestPermissions_AreTotal(t *testing.T) {
	e := New(Config{Reflection: true})
	defer e.server.Stop()
	registered := map[string]bool{}
	for service, info := range e.Server().GetServiceInfo() {
		for _, m := range info.Methods {
			registered["/"+service+"/"+m.Name] = true
		}
	}
	for method := range registered {
		if permissions[method] == 0 {
			t.Errorf("%s has no line, so nobody may call it", method)
		}
	}
	for method := range permissions {
		if !registered[method] {
			t.Errorf("%s is not registered", method)
		}
	}
}

// TestReflection_IsOnlyThereWhenAskedFor.
func TestReflection_IsOnlyThereWhenAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		e := New(Config{Reflection: asked})
		_, there := e.Server().GetServiceInfo()["grpc.reflection.v1.ServerReflection"]
		if there != asked {
			t.Errorf("asked for: %v, there: %v", asked, there)
		}
		e.server.Stop()
	}
}

func TestIdentityOf(t *testing.T) {
	for _, c := range []struct {
		uris []string
		want Identity
		ok   bool
	}{
		{[]string{"gulm://c/node/n1"}, Identity{RoleNode, "n1"}, true},
		{[]string{"gulm://c/server/lk1.example"}, Identity{RoleServer, "lk1.example"}, true},
		{[]string{"gulm://c/admin/alice"}, Identity{RoleAdmin, "alice"}, true},
		{[]string{"gulm://c/observer/x"}, Identity{RoleObserver, "x"}, true},
		{nil, Identity{}, false},
		{[]string{"gulm://c/node/n1", "gulm://c/node/n2"}, Identity{}, false},
		{[]string{"gulm://d/node/n1"}, Identity{}, false},
		{[]string{"gulm://C/node/n1"}, Identity{}, false},
		{[]string{"https://c/node/n1"}, Identity{}, false},
		{[]string{"gulm://c/Node/n1"}, Identity{}, false},
		{[]string{"gulm://c/node/"}, Identity{}, false},
		{[]string{"gulm://c/node"}, Identity{}, false},
		{[]string{"gulm://c//n1"}, Identity{}, false},
		{[]string{"gulm://c/node/n1/x"}, Identity{}, false},
		{[]string{"gulm:c/node/n1"}, Identity{}, false},
		{[]string{"gulm://c/node/n1?role=admin"}, Identity{RoleNode, "n1"}, false},
		{[]string{"gulm://user@c/node/n1"}, Identity{RoleNode, "n1"}, false},
		{[]string{"gulm://c/node/n1#x"}, Identity{RoleNode, "n1"}, false},
		{[]string{"gulm://c:1/node/n1"}, Identity{}, false},
		{[]string{"gulm://c/node/n%31"}, Identity{}, false},
	} {
		cert := &x509.Certificate{}
		for _, text := range c.uris {
			uri, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, uri)
		}
		got, err := IdentityOf(cert, "c")
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: %+v, %v; want %+v, %v", c.uris, got, err, c.want, c.ok)
		}
	}
}
