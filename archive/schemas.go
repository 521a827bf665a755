package archive

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

//go:embed schemas
var schemaTexts embed.FS

const maxSchema = 16 << 20

// loadSchemas gives the files of data/schemas: our own texts, replaced or joined by the operator's official ones.
func loadSchemas(override string) (map[string][]byte, error) {
	files := map[string][]byte{}
	own, err := fs.Sub(schemaTexts, "schemas")
	if err != nil {
		return nil, err
	}
	if err := readSchemas(own, files); err != nil {
		return nil, err
	}
	if override == "" {
		return files, nil
	}
	root, err := os.OpenRoot(override)
	if err != nil {
		return nil, fmt.Errorf("directory of schemas: %w", err)
	}
	defer root.Close()
	if err := readSchemas(root.FS(), files); err != nil {
		return nil, fmt.Errorf("directory of schemas: %w", err)
	}
	return files, nil
}

func readSchemas(from fs.FS, files map[string][]byte) error {
	names, err := fs.ReadDir(from, ".")
	if err != nil {
		return err
	}
	for _, e := range names {
		if !slices.Contains([]string{".xsd", ".json", ".wsdl", ".yaml"}, path.Ext(e.Name())) || !e.Type().IsRegular() {
			continue
		}
		if !plainPath(e.Name()) {
			return fmt.Errorf("%q: a schema's name may have letters, digits, dot, hyphen and underscore only", e.Name())
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxSchema {
			return fmt.Errorf("%s has %d bytes, more than %d", e.Name(), info.Size(), maxSchema)
		}
		if files[e.Name()], err = fs.ReadFile(from, e.Name()); err != nil {
			return err
		}
	}
	return nil
}
