module sigillo

go 1.26
