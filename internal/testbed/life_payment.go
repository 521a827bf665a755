package testbed

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// noticeFor is a notice number with aux digit 3: segregation code, 13 digits of IUV base, check digits (the rest
// of the first sixteen digits divided by 93).
func noticeFor(n uint64) string {
	base := fmt.Sprintf("302%013d", n%10_000_000_000_000)
	number, _ := new(big.Int).SetString(base, 10) // digits only
	return base + fmt.Sprintf("%02d", new(big.Int).Mod(number, big.NewInt(93)).Int64())
}

// pay lives payment i; every second one in the V2 operations.
func (r *lifeRun) pay(ctx context.Context, i int) (payment, error) {
	number := r.life.Seed + uint64(i)
	p := payment{notice: noticeFor(number)}
	p.iuv = iuvOf(p.notice)
	v2 := ""
	if i%2 == 1 {
		v2 = "V2"
	}
	if err := r.createPosition(ctx, p); err != nil {
		return p, err
	}
	values := carry(leaves{"noticeNumber": {p.notice}, "fiscalCode": {ECFiscalCode}})
	values["idempotencyKey"] = fmt.Sprintf("%s_%010d", PSPFiscalCode, number%10_000_000_000)
	answer, err := r.soap(ctx, "psp-out", "verifyPaymentNotice", "verifyPaymentNotice", values)
	if err != nil {
		return p, err
	}
	p.amount = answer.first("amount")
	if p.amount != amountOf(p.notice) {
		return p, r.book.fail(errors.New("verifyPaymentNotice on psp-out: the amount is not the EC's"))
	}
	if answer, err = r.soap(ctx, "psp-out", "activatePaymentNotice"+v2, "activatePaymentNotice"+v2, values); err != nil {
		return p, err
	}
	p.token = answer.first("paymentToken")
	if p.token == "" || answer.first("totalAmount") != p.amount || answer.first("creditorReferenceId") != p.iuv {
		return p, r.book.fail(errors.New("activatePaymentNotice" + v2 + " on psp-out: token, amount or IUV not as expected"))
	}
	values["paymentToken"] = p.token
	if _, err = r.soap(ctx, "psp-in", "pspNotifyPayment"+v2, "pspNotifyPayment"+v2, values); err != nil {
		return p, err
	}
	_, err = r.soap(ctx, "psp-out", "sendPaymentOutcome"+v2, "sendPaymentOutcome"+v2, values)
	return p, err
}

// settle is what follows a group of payments: the PSP's flow in both protocols, the EC's download, the position that
// the EC opens next, and the node's probe of the station.
func (r *lifeRun) settle(ctx context.Context, number int, paid []payment) error {
	now := time.Now()
	flow := fmt.Sprintf("%s%s-%010d", now.Format(time.DateOnly), PSPID, (r.life.Seed+uint64(number))%10_000_000_000)
	values := map[string]string{"identificativoFlusso": flow, "dataOraFlusso": now.Format("2006-01-02T15:04:05")}
	document, err := flowDocument(values, paid)
	if err != nil {
		return r.book.fail(err)
	}
	send := maps.Clone(values)
	send["xmlRendicontazione"] = base64.StdEncoding.EncodeToString(document)
	const nodeForPSP, nodeForPA = "nodeForPsp.", "nodeForPa."
	if _, err := r.soap(ctx, "psp-out", "nodoInviaFlussoRendicontazione", nodeForPSP+"nodoInviaFlussoRendicontazione", send); err != nil {
		return err
	}
	if err := r.publishFlow(ctx, flow, now, paid); err != nil {
		return err
	}
	if _, err := r.soap(ctx, "ec-out", "nodoChiediElencoFlussiRendicontazione", nodeForPA+"nodoChiediElencoFlussiRendicontazione", nil); err != nil {
		return err
	}
	answer, err := r.soap(ctx, "ec-out", "nodoChiediFlussoRendicontazione", nodeForPA+"nodoChiediFlussoRendicontazione", values)
	if err != nil {
		return err
	}
	downloaded, err := base64.StdEncoding.DecodeString(answer.first("xmlRendicontazione"))
	if err != nil || !strings.Contains(string(downloaded), flow) {
		return r.book.fail(errors.New("nodoChiediFlussoRendicontazione on ec-out: not the flow that was asked for"))
	}
	notice := noticeFor(r.life.Seed + uint64(number) + 5_000_000_000_000)
	err = r.rest(ctx, "ec-out", "newDebtPosition", http.MethodPost, "/aca/v1/paCreatePosition", http.StatusOK, map[string]any{
		"paFiscalCode": ECFiscalCode, "nav": notice, "iuv": iuvOf(notice), "amount": cents(amountOf(notice)), "iupd": ECFiscalCode + "-" + notice,
		"description": "Canone di prova 2026", "entityType": "F", "entityFiscalCode": "JHNDOE00A01F205N", "entityFullName": "John Doe di Prova",
		"iban": "IT60X0542811101000000123456", "switchToExpired": false, "expirationDate": "2027-12-31T00:00:00"})
	if err != nil {
		return err
	}
	body, err := soapRequest("paVerifyPaymentNotice", map[string]string{"noticeNumber": standInProbe})
	if err != nil {
		return r.book.fail(err)
	}
	_, err = r.do(ctx, step{operation: "paVerifyPaymentNotice", route: "ec-in", client: r.life.Clients.Node, outcome: "KO PAA_PAGAMENTO_SCONOSCIUTO",
		message: message{method: http.MethodPost, url: r.life.ECIn, contentType: xmlContentType, action: "paVerifyPaymentNotice", body: body}})
	return err
}

// soap makes one SOAP exchange on a route from the request template called template.
func (r *lifeRun) soap(ctx context.Context, route, operation, template string, values map[string]string) (leaves, error) {
	body, err := soapRequest(template, values)
	if err != nil {
		return nil, r.book.fail(err)
	}
	s := step{operation: operation, route: route, message: message{method: http.MethodPost, contentType: xmlContentType, action: operation, body: body}}
	switch route {
	case "psp-out":
		s.client, s.message.url = r.life.Clients.PSP, r.life.PSPOut+pathNodeForPSP
	case "ec-out":
		s.client, s.message.url = r.life.Clients.EC, r.life.ECOut+pathNodeForPA
	case "psp-in":
		s.client, s.message.url = r.life.Clients.Node, r.life.PSPIn
	}
	return r.do(ctx, s)
}

// rest makes one REST exchange; body nil sends none.
func (r *lifeRun) rest(ctx context.Context, route, operation, method, path string, status int, body any) error {
	s := step{operation: operation, route: route, status: status, client: r.life.Clients.EC, message: message{method: method, url: r.life.ECOut + path}}
	if route == "psp-out" {
		s.client, s.message.url = r.life.Clients.PSP, r.life.PSPOut+path
	}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return r.book.fail(fmt.Errorf("%s on %s: make body: %w", operation, route, err))
		}
		s.message.body, s.message.contentType = text, "application/json"
	}
	_, err := r.do(ctx, s)
	return err
}

func (r *lifeRun) createPosition(ctx context.Context, p payment) error {
	amount := cents(amountOf(p.notice))
	return r.rest(ctx, "ec-out", "createPosition", http.MethodPost,
		"/gpd/debt-positions-service/v1/organizations/"+ECFiscalCode+"/debtpositions", http.StatusCreated, map[string]any{
			"iupd": ECFiscalCode + "-" + p.notice, "type": "F", "fiscalCode": "JHNDOE00A01F205N", "fullName": "John Doe di Prova",
			"companyName": "Comune di Prova", "switchToExpired": false,
			"paymentOption": []any{map[string]any{"nav": p.notice, "iuv": p.iuv, "amount": amount, "description": "Canone di prova 2026",
				"isPartialPayment": false, "dueDate": "2026-12-31T00:00:00Z",
				"transfer": []any{map[string]any{"idTransfer": "1", "amount": amount, "organizationFiscalCode": ECFiscalCode,
					"remittanceInformation": "Canone di prova 2026", "category": "9/0101002IM/", "iban": "IT60X0542811101000000123456"}}}}})
}

// publishFlow is the flow over FdR REST: create, add, publish.
func (r *lifeRun) publishFlow(ctx context.Context, flow string, now time.Time, paid []payment) error {
	rows := make([]any, len(paid))
	for i, p := range paid {
		rows[i] = map[string]any{"index": i + 1, "iuv": p.iuv, "iur": p.token, "idTransfer": 1, "pay": json.Number(p.amount),
			"payStatus": "EXECUTED", "payDate": now.UTC().Format(time.RFC3339)}
	}
	base := "/fdr-psp/service/v1/psps/" + PSPID + "/fdrs/" + url.PathEscape(flow)
	err := r.rest(ctx, "psp-out", "IPspsController_createEmptyFlow", http.MethodPost, base, http.StatusCreated, map[string]any{
		"fdr": flow, "fdrDate": now.UTC().Format(time.RFC3339), "regulation": "TRN" + flow, "regulationDate": now.Format(time.DateOnly),
		"bicCodePouringBank": "BCITITMM", "totPayments": len(paid), "sumPayments": json.Number(total(paid)),
		"sender": map[string]any{"type": "LEGAL_PERSON", "id": PSPFiscalCode, "pspId": PSPID, "pspName": "Banca di Prova S.p.A.",
			"pspBrokerId": PSPFiscalCode, "channelId": PSPChannel},
		"receiver": map[string]any{"id": ECFiscalCode, "organizationId": ECFiscalCode, "organizationName": "Comune di Prova"}})
	if err != nil {
		return err
	}
	if err := r.rest(ctx, "psp-out", "IPspsController_addPaymentToExistingFlow", http.MethodPut, base+"/payments/add", http.StatusOK, map[string]any{"payments": rows}); err != nil {
		return err
	}
	return r.rest(ctx, "psp-out", "IPspsController_publishFlow", http.MethodPost, base+"/publish", http.StatusOK, nil)
}

// flowDocument is a FlussoRiversamento 1.0.4 with one row for each payment.
func flowDocument(head map[string]string, paid []payment) ([]byte, error) {
	const open, end = "  <p1:datiSingoliPagamenti>", "</p1:datiSingoliPagamenti>\n"
	template, err := messages.ReadFile("messages/inner/FlussoRiversamento.xml")
	if err != nil {
		return nil, fmt.Errorf("make flow: %w", err)
	}
	before, rest, _ := strings.Cut(string(template), open)
	row, after, ok := strings.Cut(rest, end)
	if !ok {
		return nil, errors.New("make flow: the template has no row")
	}
	values := maps.Clone(head)
	values["numeroTotalePagamenti"] = fmt.Sprint(len(paid))
	values["importoTotalePagamenti"] = total(paid)
	document := before
	for _, p := range paid {
		filled, err := fill([]byte(open+row+end), "", map[string]string{"identificativoUnivocoVersamento": p.iuv,
			"identificativoUnivocoRiscossione": p.token, "singoloImportoPagato": p.amount})
		if err != nil {
			return nil, fmt.Errorf("make flow: %w", err)
		}
		document += string(filled)
	}
	return fill([]byte(document+after), "", values)
}

// cents reads an amount of the form 12.34; what has not that form is 0.
func cents(amount string) int64 {
	var euro, cent int64
	if _, err := fmt.Sscanf(amount, "%d.%2d", &euro, &cent); err != nil {
		return 0
	}
	return euro*100 + cent
}

// total is the sum of what was paid, in the same form.
func total(paid []payment) string {
	sum := int64(0)
	for _, p := range paid {
		sum += cents(p.amount)
	}
	return fmt.Sprintf("%d.%02d", sum/100, sum%100)
}
