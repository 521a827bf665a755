package archive

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	formation = "memorizzazione su supporto informatico in formato digitale delle informazioni risultanti da transazioni o processi informatici o dalla presentazione telematica di dati attraverso moduli o formulari resi disponibili ad utente"
	register  = "SIGILLO" // CodiceRegistro: the ledger is the register, the entry number the number in it
)

// metadata is the document of AgID's allegato 5 about one exchange: its document is exchange.json, its
// attachments are the bodies. It names legal persons only, and nothing that a message says.
func (o *Options) metadata(x *packed, origin string) []byte {
	root := "DocumentoInformatico"
	if o.administrative() {
		root = "DocumentoAmministrativoInformatico"
	}
	first := x.record.Entries[0]
	number := strconv.FormatUint(first.N, 10)
	at := x.first.UTC()
	m := newMarkup()
	m.open(root)
	m.line()
	idDoc(m, "IdDoc", x.json.sum, fmt.Sprintf("%s/%s", origin, number))
	m.leaf("ModalitaDiFormazione", formation)
	m.leaf("TipologiaDocumentale", "Scambio applicativo pagoPA")
	m.line()
	m.open("DatiDiRegistrazione")
	m.leaf("TipologiaDiFlusso", o.flow(x.record))
	m.open("TipoRegistro")
	m.open("Repertorio_Registro")
	m.leaf("TipoRegistro", `Repertorio\Registro`)
	m.leaf("DataRegistrazioneDocumento", at.Format(time.DateOnly))
	m.leaf("OraRegistrazioneDocumento", at.Format("15:04:05")+"Z")
	m.leaf("NumeroRegistrazioneDocumento", number)
	m.leaf("CodiceRegistro", register)
	m.close("Repertorio_Registro", "TipoRegistro", "DatiDiRegistrazione")
	m.line()
	o.parties(m, x.record)
	m.open("ChiaveDescrittiva")
	m.leaf("Oggetto", operationOf(x.record)+", registrazione "+number)
	m.leaf("ParoleChiave", "pagoPA")
	m.close("ChiaveDescrittiva")
	m.line()
	m.open("Allegati")
	m.leaf("NumeroAllegati", strconv.Itoa(len(x.bodies)))
	for _, f := range x.bodies {
		m.open("IndiceAllegati")
		idDoc(m, "IdDoc", f.sum, f.path)
		m.leaf("Descrizione", f.path[strings.LastIndexByte(f.path, '/')+1:])
		m.close("IndiceAllegati")
	}
	m.close("Allegati")
	m.line()
	if o.administrative() {
		m.open("Classificazione")
		m.leaf("IndiceDiClassificazione", o.Producer.ClassificationIndex)
		m.leaf("Descrizione", o.Producer.ClassificationName)
		m.close("Classificazione")
	}
	m.leaf("Riservato", "true")
	m.open("IdentificativoDelFormato")
	m.leaf("Formato", "application/json")
	m.open("ProdottoSoftware")
	m.leaf("NomeProdotto", o.Software.Name)
	m.leaf("VersioneProdotto", o.Software.Version)
	m.leaf("Produttore", o.Software.Producer)
	m.close("ProdottoSoftware", "IdentificativoDelFormato")
	m.line()
	m.open("Verifica")
	m.leaf("FirmatoDigitalmente", "false")
	m.leaf("SigillatoElettronicamente", "true")
	m.leaf("MarcaturaTemporale", "true")
	m.leaf("ConformitaCopieImmagineSuSupportoInformatico", "false")
	m.close("Verifica")
	m.open("Agg")
	m.open("TipoAgg")
	m.leaf("TipoAggregazione", "Serie Documentale")
	m.leaf("IdAggregazione", origin+"/"+o.own()+"/"+o.Day.Format(time.DateOnly))
	m.close("TipoAgg", "Agg")
	m.line()
	m.leaf("NomeDelDocumento", x.json.path)
	m.leaf("VersioneDelDocumento", "1")
	m.leaf("TempoDiConservazione", strconv.Itoa(o.Years))
	m.close(root)
	m.line()
	return m.Bytes()
}

func idDoc(m *markup, name string, sum [32]byte, id string) {
	m.open(name)
	m.open("ImprontaCrittograficaDelDocumento")
	m.leaf("Impronta", base64.StdEncoding.EncodeToString(sum[:]))
	m.leaf("Algoritmo", "SHA-256")
	m.close("ImprontaCrittograficaDelDocumento")
	m.leaf("Identificativo", id)
	m.close(name)
}

// flow is U for what the principal sent, E for what it was sent.
func (o *Options) flow(r *record) string {
	if r.From != nil && r.From.Participant == o.Principal {
		return "U"
	}
	return "E"
}

func operationOf(r *record) string {
	if r.Operation == "" {
		return "operazione non riconosciuta"
	}
	return r.Operation
}

func (o *Options) parties(m *markup, r *record) {
	role := func(element, spaced string, who func()) {
		m.open("Ruolo")
		m.open(element)
		m.leaf("TipoRuolo", spaced)
		who()
		m.close(element, "Ruolo")
		m.line()
	}
	organisation := func(name, code string) {
		m.open("PG")
		m.leaf("DenominazioneOrganizzazione", name)
		if fiscalForm.MatchString(code) {
			m.leaf("CodiceFiscale_PartitaIva", code)
		}
		m.close("PG")
	}
	named := func(participant string) func() {
		return func() {
			if participant == o.Principal {
				organisation(o.Producer.Name, o.Producer.FiscalCode)
				return
			}
			_, code, _ := strings.Cut(participant, ":")
			organisation(participant, code)
		}
	}
	m.open("Soggetti")
	m.line()
	if o.administrative() {
		role("AmministrazioneCheEffettuaLaRegistrazione", "Amministrazione Che Effettua La Registrazione", func() {
			m.open("PAI")
			office(m, "IPAAmm", o.Producer.Name, o.Producer.IPACode)
			office(m, "IPAAOO", o.Producer.OfficeName, o.Producer.OfficeCode)
			m.leaf("IndirizziDigitaliDiRiferimento", o.Producer.Address)
			m.close("PAI")
		})
	} else {
		role("SoggettoCheEffettuaLaRegistrazione", "Soggetto Che Effettua La Registrazione", named(o.Principal))
	}
	if r.From != nil && r.From.Participant != "" {
		role("Mittente", "Mittente", named(r.From.Participant))
	}
	if r.To != nil && r.To.Participant != "" {
		role("Destinatario", "Destinatario", named(r.To.Participant))
	}
	role("Produttore", "Produttore", func() {
		m.open("SW")
		m.leaf("DenominazioneSistema", o.Software.Name+" "+o.Software.Version)
		m.close("SW")
	})
	m.close("Soggetti")
	m.line()
}

func office(m *markup, element, name, code string) {
	m.open(element)
	m.leaf("Denominazione", name)
	m.leaf("CodiceIPA", code)
	m.close(element)
}

func hexOf(b [32]byte) string { return hex.EncodeToString(b[:]) }
