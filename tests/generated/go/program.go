// Schedules tasks by the generated package, within transactions, and prints what it got as JSON.
// The database is named by the first argument, as lib/pq reads it.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	_ "github.com/lib/pq"

	"generated/tasks"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// pgx's rows are an interface of its own: the adapter takes anything of that form.
type row interface{ Scan(dest ...any) error }
type likePgx struct{ db *sql.DB }

func (l likePgx) QueryRow(ctx context.Context, statement string, args ...any) row {
	return l.db.QueryRowContext(ctx, statement, args...)
}

func main() {
	ctx := context.Background()
	db, err := sql.Open("postgres", os.Args[1])
	check(err)
	order := tasks.OrderPlacePayload{
		Number: 7,
		Lines:  []tasks.OrderPlaceLine{{Sku: "x", Price: "1.50"}},
		Colour: "red",
		Tree:   &tasks.OrderPlaceNode{Name: "root", Children: []*tasks.OrderPlaceNode{{Name: "leaf"}}},
		Pair:   []any{1, "two"},
	}

	tx, err := db.BeginTx(ctx, nil)
	check(err)
	_, err = tasks.ScheduleOrderPlace(ctx, tasks.SQL(tx), order, tasks.Options{})
	check(err)
	check(tx.Rollback())

	tx, err = db.BeginTx(ctx, nil)
	check(err)
	made, err := tasks.ScheduleOrderPlace(ctx, tasks.SQL(tx), order, tasks.Options{
		Queue:          "shop",
		Priority:       9,
		RunAt:          time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		Tags:           []string{"vip", `a "quoted" one`},
		Metadata:       map[string]any{"from": "go"},
		Timeout:        tasks.Seconds(30 * time.Second),
		IdempotencyKey: "order-7",
		TenantID:       "acme",
	})
	check(err)
	again, err := tasks.ScheduleOrderPlace(ctx, tasks.SQL(tx), order, tasks.Options{IdempotencyKey: "order-7", Priority: 3})
	check(err)
	late, err := tasks.ScheduleOpen(ctx, tasks.SQL(tx), tasks.OpenPayload{"anything": []any{1, nil, "ü"}},
		tasks.Options{Delay: "1 hour", DependsOn: []int64{made.ID}})
	check(err)
	check(tx.Commit())

	plain := tasks.Pgx[row](likePgx{db})
	unique := &tasks.Unique{By: []string{"payload.shop"}, Within: "60 seconds"}
	first, err := tasks.ScheduleDropTableX(ctx, plain, tasks.DropTableXPayload{}, tasks.Options{Unique: unique})
	check(err)
	second, err := tasks.ScheduleDropTableX(ctx, plain, tasks.DropTableXPayload{}, tasks.Options{Unique: unique})
	check(err)
	_, refused := tasks.ScheduleOpen(ctx, plain, tasks.OpenPayload{}, tasks.Options{Priority: 99})

	said, err := json.Marshal(map[string]any{
		"made": made, "again": again, "late": late, "first": first, "second": second, "refused": refused.Error(),
	})
	check(err)
	fmt.Println(string(said))
}
