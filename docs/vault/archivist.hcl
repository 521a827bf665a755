# What an archivist may do in Vault: what an auditor may, seal packages, wrap keys under a new generation of
# a class key (which the gateway makes), and destroy class keys when content is erased or a class-month is
# disposed of. On config only deletion may be allowed: any other right there would let a
# key become exportable.

path "transit/keys/sigillo-checkpoint"   { capabilities = ["read"] }
path "transit/keys/sigillo-receipt"      { capabilities = ["read"] }
path "transit/keys/sigillo-seal"         { capabilities = ["read"] }
path "transit/sign/sigillo-seal/sha2-256" { capabilities = ["update"] }
path "sigillo-class/decrypt/+"           { capabilities = ["update"] }
path "sigillo-class/hmac/+/sha2-256"     { capabilities = ["update"] }
path "sigillo-class/datakey/plaintext/+" { capabilities = ["update"] }
path "sigillo-class/keys/+"              { capabilities = ["delete"] }
path "sigillo-class/keys/+/config" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "deletion_allowed" = ["true", true] }
}
path "sigillo-anchor/data/+"             { capabilities = ["read"] }
