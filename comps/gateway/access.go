package gateway

import (
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Who may call what. What is not listed nobody calls from outside: what SFUs say
// to each other, batches of transactions, and users with their password verifiers.
var (
	anyone   = message.RoleSet(message.RoleNone, message.RoleClient, message.RoleOperator, message.RoleAuditor)
	users    = message.RoleSet(message.RoleClient, message.RoleOperator, message.RoleAuditor)
	movers   = message.RoleSet(message.RoleClient, message.RoleOperator)
	watchers = message.RoleSet(message.RoleOperator, message.RoleAuditor)
	operator = message.RoleSet(message.RoleOperator)
)

// access is one method that clients may call.
type access struct {
	roles  message.Roles
	method *message.MethodDescriptor
	// here is set for what is asked of one SFU: if the client names none, of this one.
	here bool
}

type methodKey struct{ service, method uint16 }

var open = table(
	allow(anyone, &gatewaypb.GatewayDescriptor, gatewaypb.GatewayHelloMethod, gatewaypb.GatewayResumeMethod, gatewaypb.GatewayPingMethod),
	allow(movers, &gatewaypb.GatewayDescriptor, gatewaypb.GatewaySubmitMethod),
	allow(watchers, &gatewaypb.GatewayDescriptor, gatewaypb.GatewayStatusMethod, gatewaypb.GatewayTraceMethod),
	allow(anyone, &loginpb.LoginDescriptor, loginpb.LoginLoginMethod, loginpb.LoginSchemaMethod, loginpb.LoginEnterMethod, loginpb.LoginChangePasswordMethod),
	allow(operator, &loginpb.LoginDescriptor, loginpb.LoginRegisterMethod, loginpb.LoginChangeUserMethod,
		loginpb.LoginRegisterSealedMethod, loginpb.LoginChangeUserSealedMethod, loginpb.LoginRotateMethod),
	allow(users, &txnpb.TxnDescriptor, txnpb.TxnStatusMethod, txnpb.TxnReadMethod, txnpb.TxnEventsMethod),
	allow(movers, &txnpb.TxnDescriptor, txnpb.TxnResolveMethod),
	allow(watchers, &txnpb.ReplicaDescriptor, txnpb.ReplicaStatusMethod, txnpb.ReplicaDigestMethod, txnpb.ReplicaTraceMethod),
	allow(operator, &txnpb.ReplicaDescriptor, txnpb.ReplicaForceMethod, txnpb.ReplicaKeysMethod),
	allow(operator, &txnpb.BackupDescriptor, txnpb.BackupReadMethod),
	allow(watchers, &txnpb.MembersDescriptor, txnpb.MembersListMethod),
	allow(operator, &txnpb.MembersDescriptor, txnpb.MembersAddMethod, txnpb.MembersRemoveMethod, txnpb.MembersLeaseMethod, txnpb.MembersActivateMethod),
	allow(users, &datasourcepb.DatasourceDescriptor, datasourcepb.DatasourceReadMethod, datasourcepb.DatasourceNextMethod, datasourcepb.DatasourceCloseMethod),
	allow(watchers, &datasourcepb.DatasourceDescriptor, datasourcepb.DatasourceCheckMethod),
	allow(operator, &datasourcepb.DatasourceDescriptor, datasourcepb.DatasourceInitMethod),
	allow(watchers, &enginepb.EngineDescriptor, enginepb.EngineStatusMethod),
	allow(operator, &enginepb.EngineDescriptor, enginepb.EngineRestartMethod, enginepb.EngineHeldMethod, enginepb.EngineRetryHeldMethod, enginepb.EngineDiscardHeldMethod),
	allow(watchers, &monitorpb.MonitorDescriptor, monitorpb.MonitorStatusMethod, monitorpb.MonitorAlarmsMethod),
	allow(users, &paymentpb.PaymentsDescriptor, paymentpb.PaymentsProvidersMethod),
	allow(watchers, &paymentpb.PaymentsDescriptor, paymentpb.PaymentsShowMethod, paymentpb.PaymentsListMethod, paymentpb.PaymentsReconcileMethod),
	allow(operator, &mailpb.MailDescriptor, mailpb.MailSetAddressMethod, mailpb.MailTestMethod),
	allow(operator, &monitorpb.MonitorDescriptor, monitorpb.MonitorAcknowledgeMethod, monitorpb.MonitorTestAlarmMethod),
)

type rules = map[methodKey]access

func allow(to message.Roles, service *message.ServiceDescriptor, methods ...uint16) rules {
	t := make(rules)
	for _, m := range methods {
		t[methodKey{service.Number, m}] = access{roles: to, method: service.Method(m),
			here: service.Policy == message.PolicyNamed || service.Number == gatewaypb.GatewayService}
	}
	return t
}

func table(parts ...rules) rules {
	t := make(rules)
	for _, p := range parts {
		for k, a := range p {
			t[k] = a
		}
	}
	return t
}

// Allows reports whether gateways pass a method of RRTS's own services for clients of a
// role.
func Allows(service, method uint16, role message.Role) bool {
	return open[methodKey{service, method}].roles.Has(role)
}

// rule returns who may call a method: of RRTS's own services as the table above says, of
// the site's as the SFU that answers it has announced.
func (g *Gateway) rule(service, method uint16) (access, bool) {
	if service < engine.FirstSite {
		a, ok := open[methodKey{service, method}]
		return a, ok
	}
	d := g.host.Service(service)
	if d == nil {
		return access{}, false
	}
	m := d.Method(method)
	if m == nil || m.Clients == 0 || m.Notice {
		return access{}, false
	}
	return access{roles: m.Clients &^ message.RoleSet(message.RoleNone, message.RoleSFU), method: m, here: d.Policy == message.PolicyNamed}, true
}
