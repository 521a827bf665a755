# What the gateway may do in Vault, and nothing else: sign, make class keys, ask data keys of them.
# It cannot open the content that it seals (no decrypt but on receipt keys), delete a key, or change one.
# Mounts: transit (signing keys), sigillo-class (class keys) and sigillo-anchor (KV version 2). Leave Vault's own "default" policy on the role:
# it lets a token look itself up and be renewed.

path "transit/keys/sigillo-checkpoint" { capabilities = ["read"] }
path "transit/keys/sigillo-receipt"    { capabilities = ["read"] }
path "transit/sign/sigillo-checkpoint" { capabilities = ["update"] }
path "transit/sign/sigillo-receipt/sha2-256" { capabilities = ["update"] }

# A class key is made with its type and no other parameter: "exportable" at creation is refused.
path "sigillo-class/keys/+" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "type" = ["aes256-gcm96"] }
}
path "sigillo-class/datakey/plaintext/+" { capabilities = ["update"] }
path "sigillo-class/hmac/+/sha2-256"     { capabilities = ["update"] }

# Receipts that are not signed yet, after a restart.
path "sigillo-class/decrypt/r-*" { capabilities = ["update"] }

# The anchor: the newest signed checkpoint, one record for each log, outside the ledger. It is written by
# check-and-set and never deleted: no right on delete/, destroy/, undelete/ or metadata/. Vault compares
# versions, not sizes: whoever holds this right can write a smaller size by hand, as a new version beside
# the old ones, which an auditor reads (sigillo-anchor/data/…?version=N).
path "sigillo-anchor/data/+"          { capabilities = ["create", "update", "read"] }
# A second person's confirmation of an accepted rollback: read only.
path "sigillo-anchor/data/rollback/+" { capabilities = ["read"] }
