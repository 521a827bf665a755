# What an auditor may do in Vault: open sealed content, search by business keys, read public keys.

path "transit/keys/sigillo-checkpoint"   { capabilities = ["read"] }
path "transit/keys/sigillo-receipt"      { capabilities = ["read"] }
path "sigillo-class/decrypt/+"           { capabilities = ["update"] }
path "sigillo-class/hmac/+/sha2-256"     { capabilities = ["update"] }

# Anchors, all their versions, and when each was written. Only an auditor confirms an accepted rollback there.
path "sigillo-anchor/data/+"          { capabilities = ["read"] }
path "sigillo-anchor/metadata/+"      { capabilities = ["read"] }
path "sigillo-anchor/data/rollback/+" { capabilities = ["create", "read"] }
