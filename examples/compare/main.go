// Compare embeds pictures and says how alike each pair is: the cosine of their pooled features.
//
//	go run ./examples/compare testdata/demo testdata/demo/pictures/{dog,banana,elephant}.jpg
package main

import (
	"context"
	"fmt"
	"log"
	"math"
	"os"

	"github.com/llama3v/llama3v"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("usage: compare MODEL PICTURE PICTURE...")
	}
	if err := compare(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func compare(ctx context.Context, model string, paths []string) error {
	m, err := llama3v.Open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	var pictures []llama3v.Picture
	for _, path := range paths {
		pictures = append(pictures, llama3v.File(path))
	}
	embeddings, err := m.EncodeImages(ctx, pictures, llama3v.Pooled()) // [pictures, dim]
	if err != nil {
		return err
	}
	data, dim := embeddings.Data().([]float32), embeddings.Shape()[1]
	for i := range paths {
		for j := range i {
			fmt.Printf("%.3f  %s  %s\n", cosine(data[i*dim:(i+1)*dim], data[j*dim:(j+1)*dim]), paths[j], paths[i])
		}
	}
	return nil
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return ab / math.Sqrt(aa*bb)
}
