package main

// demoConfig is the demo's configuration. It is an ordinary one, but for keys in files and the test
// time-stamp authority, both of which say so wherever they show.
const demoConfig = `# Written by 'sigillo demo'. Keys lie in files and time stamps come from a test authority: a demonstration, not evidence.
node: demo-1
origin: demo.sigillo.example/ec-77777777777
data: ledger

keys:
  custody: file
  dir: keys

listeners:
  - name: public
    address: {{.Gateway}}
    certificate: pki/server.pem
    key: pki/server.key
    client_ca: pki/tls-root.pem
    principal: ec:77777777777

admin:
  address: {{.Admin}}

participants:
  - id: node:pagopa
    name: PagoPA S.p.A. (fake)
    roles: [node]
    certificates: [{sha256: {{index .Pins "node"}}}]
  - id: ec:77777777777
    name: Comune di Prova
    roles: [ec]
    certificates: [{sha256: {{index .Pins "ec"}}}]
    stations: [77777777777_01]
  - id: psp:TESTPSP1
    name: Banca di Prova
    roles: [psp]
  - id: broker:88888888888
    name: Intermediario di Prova
    roles: [psp]
    certificates: [{sha256: {{index .Pins "psp"}}}]
    speaks_for: ["psp:TESTPSP1"]
    channels: [88888888888_01]

routes:
  - name: ec-in
    listener: public
    path: /ec-in
    direction: node->EC
    principal: ec:77777777777
    upstream: {url: "{{.EC}}", ca: pki/tls-root.pem, certificate: pki/client-gateway.pem, key: pki/client-gateway.key}
    timeouts: {upstream: 2s}
    limits: {body: 1MiB}
  - name: psp-in
    listener: public
    path: /psp-in
    direction: node->PSP
    principal: psp:TESTPSP1
    upstream: {url: "{{.PSP}}", ca: pki/tls-root.pem, certificate: pki/client-gateway.pem, key: pki/client-gateway.key}
    timeouts: {upstream: 2s}
    limits: {body: 1MiB}
  - name: ec-out
    listener: public
    path: /ec-out
    direction: EC->node
    principal: ec:77777777777
    upstream:
      url: "{{.Node}}"
      ca: pki/tls-root.pem
      certificate: pki/client-gateway.pem
      key: pki/client-gateway.key
      headers: {Ocp-Apim-Subscription-Key: "${file:subscription.key}"}
    timeouts: {upstream: 2s}
    limits: {body: 1MiB}
  - name: psp-out
    listener: public
    path: /psp-out
    direction: PSP->node
    principal: psp:TESTPSP1
    upstream:
      url: "{{.Node}}"
      ca: pki/tls-root.pem
      certificate: pki/client-gateway.pem
      key: pki/client-gateway.key
      headers: {Ocp-Apim-Subscription-Key: "${file:subscription.key}"}
    timeouts: {upstream: 3s}
    limits: {body: 1MiB}

timestamp:
  test: true
  test_dir: pki

archive:
  dir: packages
  producers:
    - principal: ec:77777777777
      name: Comune di Prova
      fiscal_code: "77777777777"
      ipa_code: c_z999
      aoo: AE12345
      email: protocollo@pec.comune.example.it
      classification: {index: "04.02", name: Entrate}
    - {principal: "psp:TESTPSP1", name: Banca di Prova, fiscal_code: "88888888888"}
  seal:
    certificate: seal.pem
    chain: seal-chain.pem
    crls: [{{range $i, $c := .CRLs}}{{if $i}}, {{end}}{{$c.File}}{{end}}]
  trust: pki/roots.pem
`
